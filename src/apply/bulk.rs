//! A transaction for statements over many rows of a tenant, on the writer's session between two batches.

use std::ops::Deref;

use futures_util::FutureExt;
use tokio_postgres::{Client, Error};

/// What the session's own settings, made for batches of keys, would slow down by far.
const BEGIN: &str = "BEGIN; SET LOCAL enable_seqscan = on; SET LOCAL enable_mergejoin = on; \
    SET LOCAL enable_hashjoin = on; SET LOCAL plan_cache_mode = auto; SET LOCAL work_mem = '64MB'";

/// The session inside the transaction. Dropped without [`Bulk::commit`] it is rolled back.
pub struct Bulk<'a> {
    client: &'a Client,
    ended: bool,
}

impl<'a> Bulk<'a> {
    pub(super) async fn begin(client: &'a Client) -> Result<Bulk<'a>, Error> {
        Bulk::begin_with(client, BEGIN).await
    }

    /// For a part of the rows, which are few beside the tables that they are joined with: found by key, as the session has it.
    pub(super) async fn begin_part(client: &'a Client) -> Result<Bulk<'a>, Error> {
        Bulk::begin_with(client, "BEGIN").await
    }

    async fn begin_with(client: &'a Client, begin: &str) -> Result<Bulk<'a>, Error> {
        let bulk = Bulk { client, ended: false };
        client.batch_execute(begin).await?;
        Ok(bulk)
    }

    /// # Errors
    /// What the server says.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.ended = true;
        self.client.batch_execute("COMMIT").await
    }
}

impl Deref for Bulk<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client
    }
}

impl Drop for Bulk<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // The first look sends it; statements of the session keep their order, so nobody has to wait for it.
            let _ = self.client.batch_execute("ROLLBACK").now_or_never();
        }
    }
}
