//! The timer loop, with a clock that the test sets: what runs, when, and what becomes of the rows.

mod calendar;
mod engine;
mod fortnight;
mod night;
