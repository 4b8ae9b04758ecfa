//! What the POS's words mean: statuses, payment methods, movement types.

use foldhash::HashMap;

use super::change::Sign;
use super::entity::{PaymentKind, SaleStatus};
use crate::config::Config;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    pub(super) statuses: HashMap<String, SaleStatus>,
    pub(super) methods: HashMap<String, PaymentKind>,
    pub(super) movements: HashMap<String, Sign>,
    pub(super) reservation_active: Vec<String>,
    pub(super) payment_types: Vec<String>,
    pub(super) company_types: Vec<String>,
}

impl Vocabulary {
    pub fn new(config: &Config) -> Vocabulary {
        fn table<V: Copy>(lists: &[(&[String], V)]) -> HashMap<String, V> {
            lists.iter().flat_map(|(words, value)| words.iter().map(|w| (w.clone(), *value))).collect()
        }
        let (mapping, pay, stock) = (&config.mapping, &config.payments, &config.inventory);
        Vocabulary {
            statuses: table(&[
                (&mapping.completed_statuses, SaleStatus::Completed),
                (&mapping.refunded_statuses, SaleStatus::Refunded),
            ]),
            methods: table(&[
                (&pay.cash, PaymentKind::Cash),
                (&pay.card, PaymentKind::Card),
                (&pay.credit, PaymentKind::Credit),
            ]),
            movements: table(&[
                (&stock.incoming, Sign::Plus),
                (&stock.outgoing, Sign::Minus),
                (&stock.signed, Sign::Signed),
            ]),
            reservation_active: mapping.reservation_active_statuses.clone(),
            payment_types: mapping.transaction_payment_types.clone(),
            company_types: mapping.company_types.clone(),
        }
    }
}
