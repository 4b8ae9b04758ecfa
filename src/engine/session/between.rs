//! What the session does between two batches, while the writer is at home: what is due beside the stream, a store in trouble,
//! idle positions.

use std::time::Instant as Moment;

use super::{IDLE_MOVE, STATES, Session};
use crate::apply::ApplyError;
use crate::engine::assembler::FaultReason;
use crate::engine::error::EngineError;
use crate::engine::jobs::Reply;
use crate::engine::slot_use::{end_stream, open_stream};
use crate::lsn::Lsn;

impl Session {
    /// Between two batches, the writer at home.
    pub(super) async fn between(&mut self) -> Result<(), EngineError> {
        self.progress.work_begins();
        self.chores().await?;
        self.progress.settled(self.roster_is_settled());
        self.progress.work_ends();
        self.progress.heard();
        self.start_if_ready(false);
        Ok(())
    }

    async fn chores(&mut self) -> Result<(), EngineError> {
        if let Some(error) = self.refused.take() {
            self.refused(error).await?;
        }
        for fault in self.assembler.take_faults() {
            self.set_aside(fault.tenant, fault.reason).await?;
        }
        if std::mem::take(&mut self.chores) {
            self.beat().await?;
        }
        if self.jobs.has_step() {
            self.run_jobs().await?;
        }
        self.advance_hold().await?;
        if self.is_between()
            && let Some(found) = self.found.take()
        {
            self.look_at(found).await?;
        }
        self.advance_copy().await
    }

    /// Not in the middle of a source transaction larger than a batch: what is said now is committed by itself.
    pub(super) fn is_between(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.is_open())
    }

    pub(in crate::engine) fn look_soon(&self) {
        if let Some(scout) = &self.scout {
            scout.look_soon();
        }
    }

    /// Never in the middle of a source transaction larger than a batch: what was said of a store is committed with it.
    pub(super) fn is_done(&self) -> bool {
        if !self.is_between() || self.jobs.is_busy() {
            return false;
        }
        let caught_up = self.until.is_some_and(|until| self.assembler.has_reached(until));
        let settled = self.roster_is_settled() || self.scout.is_none();
        self.again || caught_up && settled && !self.jobs.has_due_roll(self.clock.now())
    }

    /// Durable positions, requests, idle positions, the calendar.
    async fn beat(&mut self) -> Result<(), EngineError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if writer.is_open() {
            return Ok(());
        }
        writer.sql.prepare(&writer.client, &["heartbeat"]).await?;
        let rows = writer.sql.query(&writer.client, "heartbeat", &[]).await?;
        self.beaten = Moment::now();
        let Some(row) = rows.first() else { return Ok(()) };
        let (end, flushed): (Lsn, Lsn) = (row.try_get(0)?, row.try_get(1)?);
        let (asked, awaited): (bool, bool) = (row.try_get(2)?, row.try_get(3)?);
        if let Some(position) = self.confirmations.durable(end, flushed) {
            self.stream.confirm(position);
        }
        if self.counted.is_none_or(|counted| counted.elapsed() >= STATES) {
            self.count_stores().await?;
        }
        self.end_forgotten_hold().await?;
        if asked {
            self.serve().await?;
        }
        self.move_idle(awaited).await?;
        if !self.jobs.is_running() {
            self.run_jobs().await?;
        }
        Ok(())
    }

    /// With nothing for us in what the source has written, the position moves on all the same: an idle shop must not
    /// keep WAL for the whole server, and a reader who waits for a position is not to wait for [`IDLE_MOVE`].
    async fn move_idle(&mut self, awaited: bool) -> Result<(), EngineError> {
        if self.hold.is_some() {
            return Ok(());
        }
        let Some(position) = self.assembler.idle_position() else { return Ok(()) };
        let caught_up = self.until.is_some_and(|until| position >= until);
        if self.moved.elapsed() < IDLE_MOVE && !caught_up && !awaited {
            return Ok(());
        }
        self.move_to_idle().await
    }

    /// The stored position moves to where there is nothing before it for us.
    pub(in crate::engine) async fn move_to_idle(&mut self) -> Result<(), EngineError> {
        let Some(position) = self.assembler.idle_position() else { return Ok(()) };
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let applied = writer.move_to(position).await?;
        self.assembler.moved_to(position);
        self.applied(applied);
        Ok(())
    }

    /// No job begins or goes on while the reports are held at a position, or inside a transaction larger than a batch.
    pub(in crate::engine) fn may_run_jobs(&self) -> bool {
        let held = self.hold.is_some() && !self.jobs.is_running();
        !held && self.is_between()
    }

    /// One step of a job, if one is running or due.
    async fn run_jobs(&mut self) -> Result<(), EngineError> {
        if !self.may_run_jobs() {
            return Ok(());
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        match self.jobs.step(&self.config, writer, &mut self.assembler.stores, &self.clock).await? {
            Some((request, Reply::Progress(told))) => self.tell(request, &told).await,
            Some((request, Reply::End(answer))) => self.answer(request, answer).await,
            None => Ok(()),
        }
    }

    /// At the end: everything committed is forced to disk and confirmed.
    pub(super) async fn confirm_all(&mut self) -> Result<(), EngineError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        // Half a transaction in hand ends with the connection; to commit anything now would commit that half.
        if self.confirmations.is_empty() || writer.is_open() {
            return Ok(());
        }
        writer.flush().await?;
        if let Some(position) = self.confirmations.all_durable() {
            self.stream.confirm(position);
        }
        Ok(())
    }

    /// A batch was refused for what some store's rows say. It is rolled back; the stream is read again from the stored
    /// position, without that store once it is known.
    async fn refused(&mut self, error: ApplyError) -> Result<(), EngineError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let position = writer.position();
        match error {
            ApplyError::Refused(tenant, why) => {
                self.set_aside(tenant, FaultReason::Unusable(why.to_string())).await?;
            }
            ApplyError::Overflow(tenant, why) => self.set_aside(tenant, FaultReason::Unusable(why)).await?,
            e if self.apart.is_some() => return Err(e.into()),
            e => {
                tracing::warn!("a batch was refused, looking for the store: {e}");
                // At the latest with the next commit after what is in hand.
                self.apart = Some(self.assembler.handed_out().max(Lsn(position.0 + 1)));
            }
        }
        self.read_again().await
    }

    /// Gives up what was received and not committed, and reads the stream again from the stored position.
    pub(in crate::engine) async fn read_again(&mut self) -> Result<(), EngineError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.roll_back().await?;
        // Opening the stream confirms the position: it has to be on disk.
        writer.flush().await?;
        let position = writer.position();
        end_stream(&self.config, &self.source, &mut self.stream).await;
        self.stream = open_stream(&self.config, position).await?.0;
        self.assembler.restart(position);
        Ok(())
    }
}
