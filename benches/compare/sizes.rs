//! How much of everything.

use std::time::Duration;

use clap::Args;

/// Sizes that can be given; each has a default, and a smaller one with --quick.
#[derive(Debug, Clone, Default, Args)]
pub struct Overrides {
    /// drain: sales in the backlog
    #[arg(long)]
    sales: Option<u64>,
    /// Sales of the past, but for copy and growth
    #[arg(long)]
    history: Option<u64>,
    /// drain: row changes in the one transaction
    #[arg(long)]
    transaction_changes: Option<u64>,
    /// drain: sales in the backlog of small transactions
    #[arg(long)]
    small_step_sales: Option<u64>,
    /// copy, memory: sales of the past
    #[arg(long)]
    copy_sales: Option<u64>,
    /// memory: row changes in the one transaction
    #[arg(long)]
    big_changes: Option<u64>,
    /// jobs: customers, with a sale each
    #[arg(long)]
    job_customers: Option<u64>,
    /// jobs: the same, for all jobs of a night
    #[arg(long)]
    night_customers: Option<u64>,
    /// growth: sales in the backlog
    #[arg(long)]
    growth_sales: Option<u64>,
    /// growth: sales of history, the first with everything else
    #[arg(long, value_delimiter = ',', value_name = "N,N,…")]
    growth_history: Option<Vec<u64>>,
    /// growth: stores
    #[arg(long, value_delimiter = ',', value_name = "N,N,…")]
    growth_stores: Option<Vec<u64>>,
    /// growth: sales of today
    #[arg(long, value_delimiter = ',', value_name = "N,N,…")]
    growth_today: Option<Vec<u64>>,
    /// How long each pace of sales is kept up
    #[arg(long)]
    seconds: Option<u64>,
    /// Tills that sell at once
    #[arg(long)]
    clients: Option<u32>,
}

#[derive(Debug, Clone)]
pub struct Sizes {
    pub sales: u64,
    pub history: u64,
    pub transaction_changes: u64,
    pub small_step_sales: u64,
    pub copy_sales: u64,
    pub big_changes: u64,
    pub job_customers: u64,
    pub night_customers: u64,
    pub growth_sales: u64,
    pub growth_history: Vec<u64>,
    pub growth_stores: Vec<u64>,
    pub growth_today: Vec<u64>,
    pub time: Duration,
    pub clients: u32,
}

impl Sizes {
    pub fn new(quick: bool, full: bool, given: &Overrides) -> Sizes {
        let pick = |given: Option<u64>, normal: u64, small: u64| given.unwrap_or(if quick { small } else { normal });
        let list = |given: &Option<Vec<u64>>, normal: &[u64], small: &[u64]| {
            given.clone().unwrap_or_else(|| if quick { small } else { normal }.to_vec())
        };
        let histories: &[u64] = if full { &[100_000, 1_000_000, 10_000_000] } else { &[100_000, 1_000_000] };
        Sizes {
            sales: pick(given.sales, 100_000, 2000),
            history: pick(given.history, 200_000, 5000),
            transaction_changes: pick(given.transaction_changes, 1_000_000, 50_000),
            small_step_sales: pick(given.small_step_sales, 20_000, 500),
            copy_sales: pick(given.copy_sales, 1_000_000, 10_000),
            big_changes: pick(given.big_changes, 10_000_000, 300_000),
            job_customers: pick(given.job_customers, 1_000_000, 10_000),
            night_customers: pick(given.night_customers, 100_000, 5000),
            growth_sales: pick(given.growth_sales, 20_000, 1000),
            growth_history: list(&given.growth_history, histories, &[2000, 10_000]),
            growth_stores: list(&given.growth_stores, &[1, 200], &[1, 5]),
            growth_today: list(&given.growth_today, &[1, 50_000], &[1, 1000]),
            time: Duration::from_secs(pick(given.seconds, 30, 3)),
            clients: given.clients.unwrap_or(4),
        }
    }
}
