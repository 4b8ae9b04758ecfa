//! Random values as the POS has them, and as it should not but does.

use chrono::{DateTime, Duration, NaiveTime, Offset, TimeZone, Utc};
use chrono_tz::Tz;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub struct Values {
    pub rng: ChaCha8Rng,
    seed: u64,
    counter: u64,
    now: DateTime<Utc>,
    zone: Tz,
    /// Moments of the last 400 days at which the zone changed its offset.
    clock_changes: Vec<DateTime<Utc>>,
}

impl Values {
    pub fn new(seed: u64, now: DateTime<Utc>, zone: Tz) -> Values {
        let offset = |at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix();
        let hours = (0..400 * 24).map(|h| now - Duration::hours(h));
        let clock_changes = hours.filter(|at| offset(*at) != offset(*at - Duration::hours(1))).collect();
        Values { rng: ChaCha8Rng::seed_from_u64(seed), seed, counter: 0, now, zone, clock_changes }
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    pub fn below(&mut self, n: u32) -> u32 {
        self.rng.random_range(0..n)
    }

    /// Millionths, for [`super::db::Db::pick`].
    pub fn share(&mut self) -> u32 {
        self.below(1_000_000)
    }

    /// The same, a few rows being much likelier than the others: regular customers.
    pub fn skewed_share(&mut self) -> u32 {
        let share = u64::from(self.share());
        u32::try_from(share * share / 1_000_000).unwrap_or(0)
    }

    pub fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.rng.random_range(0..words.len())]
    }

    /// A word that no other workload with another seed (modulo 1000) makes.
    pub fn unique(&mut self) -> String {
        self.counter += 1;
        format!("{:03}{:09}", self.seed % 1000, self.counter)
    }

    /// Hundredths of the currency.
    pub fn cents(&mut self) -> i128 {
        i128::from(match self.below(100) {
            0..5 => 0,
            5..8 => self.rng.random_range(10_000_000_000..999_999_999_999_i64),
            8..30 => self.rng.random_range(1..10_000_i64),
            30..60 => self.rng.random_range(1..400_i64) * 50_000,
            _ => self.rng.random_range(100..30_000_000_i64),
        })
    }

    /// Thousandths of the product's unit.
    pub fn thousandths(&mut self) -> i128 {
        i128::from(match self.below(100) {
            0..8 => -self.rng.random_range(1..4_000_i64),
            8..9 => 0,
            9..10 => self.rng.random_range(1_000_000..90_000_000_i64),
            10..40 => self.rng.random_range(1..6_000_i64),
            _ => self.rng.random_range(1..9_i64) * 1_000,
        })
    }

    /// A moment, quoted for SQL: mostly recent, often where days begin and end.
    pub fn when(&mut self) -> String {
        let at = self.moment();
        format!("'{}'", at.format("%Y-%m-%d %H:%M:%S%.6f+00"))
    }

    fn moment(&mut self) -> DateTime<Utc> {
        let micros =
            |rng: &mut ChaCha8Rng, days: i64| Duration::microseconds(rng.random_range(0..days * 86_400_000_000));
        match self.below(100) {
            0..15 => self.now - micros(&mut self.rng, 1),
            15..50 => self.now - micros(&mut self.rng, 40),
            50..70 => self.now - micros(&mut self.rng, 110),
            70..82 => {
                let days = self.rng.random_range(-1..95);
                self.near_midnight(days)
            }
            82..86 => {
                let days = self.rng.random_range(363..368);
                self.near_midnight(days)
            }
            86..91 if !self.clock_changes.is_empty() => {
                let change = self.clock_changes[self.rng.random_range(0..self.clock_changes.len())];
                change + Duration::seconds(self.rng.random_range(-7200..7200))
            }
            91..95 => self.now - Duration::days(366) - micros(&mut self.rng, 400),
            95..98 => self.now + micros(&mut self.rng, 40),
            _ => self.now,
        }
    }

    /// Within two seconds of the local midnight that began the day `days` ago, a third of the time exactly on it.
    fn near_midnight(&mut self, days: i64) -> DateTime<Utc> {
        let date = (self.now - Duration::days(days)).with_timezone(&self.zone).date_naive();
        let midnight = date.and_time(NaiveTime::MIN);
        let start = self.zone.from_local_datetime(&midnight).earliest().map_or(midnight.and_utc(), |t| t.to_utc());
        start + Duration::microseconds([0, -1, 1, 0, -2_000_000, 1_500_000][self.rng.random_range(0..6_usize)])
    }
}

/// Hundredths as SQL.
pub fn money(cents: i128) -> String {
    fixed(cents.clamp(-999_999_999_999, 999_999_999_999), 2)
}

/// Thousandths as SQL.
pub fn quantity(thousandths: i128) -> String {
    fixed(thousandths.clamp(-999_999_999_999, 999_999_999_999), 3)
}

/// What a line of so many thousandths at so many hundredths each comes to, in hundredths.
pub fn line_total(thousandths: i128, cents: i128) -> i128 {
    thousandths * cents / 1000
}

fn fixed(value: i128, digits: usize) -> String {
    let (sign, value) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
    let scale = 10_u128.pow(digits as u32);
    format!("{sign}{}.{:0digits$}", value / scale, value % scale)
}
