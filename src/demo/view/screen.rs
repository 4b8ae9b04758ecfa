//! Where the view is shown: redrawn in place in a terminal, now and then as a block elsewhere.

use std::io::{IsTerminal, Stdout, Write};
use std::time::{Duration, Instant};

use terminal_size::{Height, Width, terminal_size};

/// How often a file or a pipe gets a block.
const BLOCK_EVERY: Duration = Duration::from_secs(5);
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR_ALL: &str = "\x1b[2J";

pub struct Screen<W: Write = Stdout> {
    out: W,
    terminal: bool,
    /// Columns and rows that a terminal has room for: a longer block would scroll instead of being replaced.
    size: (usize, usize),
    shown: Option<Instant>,
}

impl Screen {
    pub fn stdout() -> Self {
        let out = std::io::stdout();
        let terminal = out.is_terminal();
        let mut screen = Screen::new(out, terminal);
        if let Some((Width(columns), Height(rows))) = terminal_size() {
            // The cursor waits below the last line.
            screen.size = (columns.into(), usize::from(rows).saturating_sub(1));
        }
        screen
    }
}

impl<W: Write> Screen<W> {
    pub fn new(out: W, terminal: bool) -> Self {
        Screen { out, terminal, size: (usize::MAX, usize::MAX), shown: None }
    }

    /// Whether this shows anything now: a terminal always does, a file every few seconds.
    pub fn is_due(&self) -> bool {
        self.terminal || self.shown.is_none_or(|at| at.elapsed() >= BLOCK_EVERY)
    }

    /// Shows the text if it is due. In a terminal it replaces what was there.
    ///
    /// # Errors
    /// The output is closed.
    pub fn show(&mut self, text: &str) -> std::io::Result<()> {
        if !self.is_due() {
            return Ok(());
        }
        let mut block = String::new();
        if self.terminal {
            // In one write, line by line over the old: nothing flickers.
            block.push_str(HIDE_CURSOR);
            block.push_str(if self.shown.is_none() { CLEAR_ALL } else { "" });
            block.push_str(HOME);
            let (columns, rows) = self.size;
            for line in text.lines().take(rows) {
                block.extend(line.chars().take(columns));
                block.push_str(CLEAR_LINE);
                block.push('\n');
            }
            block.push_str(CLEAR_BELOW);
        } else {
            block.push_str(text);
            block.push('\n');
        }
        self.shown = Some(Instant::now());
        self.out.write_all(block.as_bytes())?;
        self.out.flush()
    }

    /// Shows the text whether it is due or not, whole and to stay: a terminal scrolls where it is too small.
    ///
    /// # Errors
    /// The output is closed.
    pub fn finish(mut self, text: &str) -> std::io::Result<()> {
        let clear = if self.terminal { [CLEAR_ALL, HOME].concat() } else { String::new() };
        self.out.write_all(format!("{clear}{text}\n").as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        if self.terminal {
            // The terminal may be gone.
            let _ = self.out.write_all(SHOW_CURSOR.as_bytes()).and_then(|()| self.out.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(terminal: bool, texts: &[&str]) -> Option<String> {
        let mut bytes = Vec::new();
        let mut screen = Screen::new(&mut bytes, terminal);
        for text in texts {
            screen.show(text).ok()?;
        }
        drop(screen);
        String::from_utf8(bytes).ok()
    }

    #[test]
    fn a_terminal_is_redrawn_in_place_and_gets_its_cursor_back() {
        let expected = "\x1b[?25l\x1b[2J\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J\x1b[?25l\x1b[Hc\x1b[K\n\x1b[J\x1b[?25h";
        assert_eq!(written(true, &["a\nb\n", "c\n"]).as_deref(), Some(expected));
    }

    #[test]
    fn a_file_gets_a_block_now_and_then() {
        assert_eq!(written(false, &["a\nb\n", "c\n"]).as_deref(), Some("a\nb\n\n"));
    }
}
