//! Looks at the source's catalogue, beside the stream and never in its way: which stores there are, how the publication
//! differs from what it should be. What must not be published it takes out at once; what is to be added a copy does.
//! Stores that our role may not read it has admitted, where an administrator has provided for that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::error::EngineError;
use crate::config::Config;
use crate::source::admin;
use crate::source::catalog::{self, Discovery};
use crate::source::publication::{self, Drift, PublicationError};

/// The source may take this long to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// A look that was asked for comes no sooner after the one before.
const BREATH: Duration = Duration::from_millis(100);

/// One moment of the catalogue.
#[derive(Debug)]
pub struct Found {
    pub discovery: Discovery,
    pub drift: Drift,
}

/// Looks for as long as it lives.
pub struct Scout {
    found: mpsc::Receiver<Result<Found, EngineError>>,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Scout {
    /// Looks at once, then every so often, and whenever it is asked to.
    pub fn start(config: Arc<Config>) -> Scout {
        let (tell, found) = mpsc::channel(1);
        let wake = Arc::new(Notify::new());
        let task = tokio::spawn(watch(config, tell, Arc::clone(&wake)));
        Scout { found, wake, task }
    }

    /// Waits for the next look's outcome. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Found, EngineError> {
        match self.found.recv().await {
            Some(found) => found,
            None => Err(EngineError::Definite("a defect in looking for stores: see the log".to_string())),
        }
    }

    pub fn look_soon(&self) {
        self.wake.notify_one();
    }
}

impl Drop for Scout {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(config: Arc<Config>, tell: mpsc::Sender<Result<Found, EngineError>>, wake: Arc<Notify>) {
    let mut client = None;
    let mut trouble = String::new();
    let mut admitted = BTreeSet::new();
    loop {
        let looked = tokio::time::timeout(ANSWER_LIMIT, look(&config, &mut client)).await;
        let looked = looked.unwrap_or(Err(EngineError::Silent { whom: "source", limit: ANSWER_LIMIT }));
        let mut mended = false;
        match looked {
            Ok(found) => {
                if let Some(client) = &client
                    && admit(client, &config, &found, &mut admitted).await
                {
                    continue;
                }
                let drift = found.drift.clone();
                if tell.send(Ok(found)).await.is_err() {
                    return;
                }
                if let Some(client) = &client
                    && (drift.options_wrong || !drift.drop.is_empty())
                    && !drift.too_wide
                {
                    match publication::mend(client, &config, &drift).await {
                        Ok(()) => {
                            let (options, tables) = (drift.options_wrong, &drift.drop);
                            tracing::warn!(options, ?tables, "the publication was not as it should be: mended");
                            (mended, trouble) = (true, String::new());
                        }
                        Err(e) => complain(&mut trouble, &e),
                    }
                }
            }
            Err(e) => {
                client = None;
                if tell.send(Err(e)).await.is_err() {
                    return;
                }
            }
        }
        if mended {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(config.tenants.discover_every) => {}
            () = wake.notified() => tokio::time::sleep(BREATH).await,
        }
    }
}

/// True: a store was admitted, and is to be seen as it is now. Each store is asked for once, until it may be read.
async fn admit(client: &Client, config: &Config, found: &Found, admitted: &mut BTreeSet<String>) -> bool {
    let closed = found.discovery.stores.iter().filter(|store| store.unreadable && store.publishable());
    let closed: BTreeMap<&String, _> = closed.map(|store| (&store.schema, store)).collect();
    admitted.retain(|name| closed.contains_key(name));
    let mut any = false;
    for (name, store) in closed {
        if admitted.contains(name) || !admin::available(client, config).await.unwrap_or(false) {
            continue;
        }
        match admin::admit(client, config, store).await {
            Ok(true) => {
                tracing::info!(store = %name, "the store's tables were made readable for us");
                admitted.insert(name.clone());
                any = true;
            }
            Ok(false) => {}
            Err(e) => tracing::warn!(store = %name, "admitting the store: {}", crate::apply::describe(&e)),
        }
    }
    any
}

/// The same trouble is told once.
fn complain(trouble: &mut String, error: &PublicationError) {
    let message = error.to_string();
    if *trouble != message {
        tracing::error!("the publication is not as it should be: {message}");
        *trouble = message;
    }
}

async fn look(config: &Config, client: &mut Option<Client>) -> Result<Found, EngineError> {
    let client = match client {
        Some(client) if !client.is_closed() => client,
        _ => client.insert(config.source.connection.connect("tillstream scout").await?),
    };
    // One snapshot for all its questions: a migration that commits between two of them is seen whole or not at all.
    let transaction = client
        .build_transaction()
        .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    let discovery = catalog::discover(transaction.client(), config).await?;
    let drift = publication::drift(transaction.client(), config, &discovery.stores).await?;
    transaction.commit().await?;
    Ok(Found { discovery, drift })
}
