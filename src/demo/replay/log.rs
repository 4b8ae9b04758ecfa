//! Reads a log of sales, one line of an invoice per row, as shops export them: dirty.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use chrono::NaiveDateTime;
use csv::StringRecord;
use rust_decimal::Decimal;

use super::Error;
use crate::domain::{Money, Quantity};

/// Longest product name, product code and receipt number that the POS takes, in characters.
const NAME: usize = 200;
const CODE: usize = 100;
const RECEIPT: usize = 50;
/// Beyond these no column of the POS could hold the value.
const LARGEST_QUANTITY: i64 = 999_999_999;
const LARGEST_AMOUNT: i64 = 9_999_999_999;

/// A whole log, invoices in order of their first line's time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Log {
    pub invoices: Vec<Invoice>,
    pub products: Vec<Product>,
    /// Customer codes.
    pub customers: Vec<String>,
    pub rejected: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Product {
    pub code: String,
    /// Its first name in the log; the code where it has none.
    pub name: String,
    /// Its first price above 0.
    pub price: Money,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Invoice {
    pub number: String,
    /// Local time of its first line.
    pub at: NaiveDateTime,
    /// Place in [`Log::customers`].
    pub customer: Option<usize>,
    pub lines: Vec<LogLine>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Place in [`Log::products`].
    pub product: usize,
    pub quantity: Quantity,
    pub price: Money,
}

pub(super) fn read(path: &Path) -> Result<Log, Error> {
    let name = path.display().to_string();
    let failed = |source| Error::Read { file: name.clone(), source };
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let gzip = reader.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
    if gzip { parse(flate2::bufread::MultiGzDecoder::new(reader), &name) } else { parse(reader, &name) }
}

/// Reads CSV text; `file` is its name in messages.
pub fn parse(input: impl Read, file: &str) -> Result<Log, Error> {
    let failed = |source| Error::Csv { file: file.to_string(), source };
    let mut csv = csv::ReaderBuilder::new().flexible(true).from_reader(input);
    let columns = Columns::find(csv.byte_headers().map_err(failed)?, file)?;
    let mut log = Log::default();
    let mut index = Index::default();
    let mut bytes = csv::ByteRecord::new();
    while csv.read_byte_record(&mut bytes).map_err(failed)? {
        // Old exports are not always UTF-8; a name with a strange letter is still a sale.
        let record = StringRecord::from_byte_record_lossy(std::mem::take(&mut bytes));
        if log.add(&mut index, &columns, &record).is_none() {
            log.rejected += 1;
        }
    }
    log.invoices.sort_by_key(|invoice| invoice.at);
    Ok(log)
}

/// Where what was seen before stands in the log.
#[derive(Default)]
struct Index {
    invoices: HashMap<String, usize>,
    products: HashMap<String, usize>,
    customers: HashMap<String, usize>,
}

impl Log {
    /// Adds a row; `None` where it is not a sale's line.
    fn add(&mut self, index: &mut Index, columns: &Columns, record: &StringRecord) -> Option<()> {
        let field = |at: Option<usize>| at.and_then(|at| record.get(at)).map(str::trim).filter(|text| !text.is_empty());
        let at = time(field(Some(columns.time))?)?;
        let code = shortened(field(Some(columns.product))?, CODE);
        let quantity = decimal(field(Some(columns.quantity))?, LARGEST_QUANTITY)?.round_dp(3);
        let price = decimal(field(Some(columns.price))?, LARGEST_AMOUNT)?;
        if quantity.checked_mul(price)?.abs() > Decimal::from(LARGEST_AMOUNT) {
            return None;
        }
        let customer = field(columns.customer).map(|code| place(&mut index.customers, &mut self.customers, code));

        let next = self.products.len();
        let product = *index.products.entry(code.clone()).or_insert(next);
        if product == next {
            self.products.push(Product { name: code.clone(), code, price: Decimal::ZERO });
        }
        let known = self.products.get_mut(product)?;
        if let Some(name) = field(columns.name).filter(|_| known.name == known.code) {
            known.name = shortened(name, NAME);
        }
        if known.price.is_zero() && price > Decimal::ZERO {
            known.price = price;
        }

        // A log without invoice numbers: what one customer bought in one moment is one sale.
        let number = match field(columns.sale) {
            Some(number) => shortened(number, RECEIPT),
            None => {
                shortened(&format!("{} {}", at.format("%Y%m%d%H%M%S"), field(columns.customer).unwrap_or("-")), RECEIPT)
            }
        };
        let next = self.invoices.len();
        let invoice = *index.invoices.entry(number.clone()).or_insert(next);
        if invoice == next {
            self.invoices.push(Invoice { number, at, customer, lines: Vec::new() });
        }
        self.invoices.get_mut(invoice)?.lines.push(LogLine { product, quantity, price });
        Some(())
    }
}

fn place(index: &mut HashMap<String, usize>, list: &mut Vec<String>, code: &str) -> usize {
    let next = list.len();
    *index.entry(code.to_string()).or_insert_with(|| {
        list.push(code.to_string());
        next
    })
}

fn shortened(text: &str, characters: usize) -> String {
    text.chars().filter(|c| *c != '\0').take(characters).collect()
}

fn time(text: &str) -> Option<NaiveDateTime> {
    const FORMATS: [&str; 6] = [
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
        "%Y/%m/%d %H:%M:%S",
        "%d.%m.%Y %H:%M:%S",
        "%d.%m.%Y %H:%M",
    ];
    let day = || chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(12, 0, 0);
    FORMATS.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok()).or_else(day)
}

/// An exact decimal of at most this size, also in the exponent form that spreadsheets write.
fn decimal(text: &str, largest: i64) -> Option<Decimal> {
    let value = text.parse().or_else(|_| Decimal::from_scientific(text)).ok()?;
    (value.abs() <= Decimal::from(largest)).then_some(value)
}

/// Which column of the file is which.
struct Columns {
    time: usize,
    product: usize,
    quantity: usize,
    price: usize,
    sale: Option<usize>,
    name: Option<usize>,
    customer: Option<usize>,
}

impl Columns {
    /// By the header's names, in any order, whatever their case and punctuation.
    fn find(header: &csv::ByteRecord, file: &str) -> Result<Self, Error> {
        let header: Vec<String> = header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let plain = |name: &String| name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        let names: Vec<String> = header.iter().map(plain).collect();
        let find = |wanted: &[&str]| wanted.iter().find_map(|w| names.iter().position(|name| name == w));
        let missing = |missing| Error::Header { file: file.to_string(), missing, header: header.clone() };
        Ok(Columns {
            time: find(&["time", "date", "datetime", "timestamp", "invoicedate", "soldat"])
                .ok_or_else(|| missing("date"))?,
            product: find(&["product", "productcode", "productid", "stockcode", "sku", "item", "code"])
                .ok_or_else(|| missing("product"))?,
            quantity: find(&["quantity", "qty", "amount"]).ok_or_else(|| missing("quantity"))?,
            price: find(&["unitprice", "price"]).ok_or_else(|| missing("unit price"))?,
            sale: find(&["sale", "saleid", "invoice", "invoiceno", "receipt", "receiptnumber", "order"]),
            name: find(&["name", "productname", "description"]),
            customer: find(&["customer", "customerid", "client"]),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn log(text: &str) -> Log {
        parse(text.as_bytes(), "log.csv").unwrap()
    }

    #[test]
    fn reads_dirty_lines_as_they_are() {
        let log = log("time,sale,line,product,name,quantity,unit_price,customer\n\
             2010-12-01 08:26:00,536365,1,85123A,HOLDER,6,2.55,17850\n\
             2010-12-01 08:26:00,536365,2,85123a,,2,0.001,17850\n\
             2010-12-01 08:27:00,536365,3,85123A,\"HOLDER, RED\",6,2.55,17850\n\
             2010-12-01 09:41:00,C536379,1,D,Discount,-1,27.5,\n\
             2010-12-01 08:00:00,536380,1,85123a,LATER NAMED,1,-0.0,1\n");
        assert_eq!(log.rejected, 0);
        let numbers: Vec<&str> = log.invoices.iter().map(|i| i.number.as_str()).collect();
        assert_eq!(numbers, ["536380", "536365", "C536379"], "in order of time");
        assert_eq!(log.invoices[1].lines.len(), 3, "one invoice, though its lines have two times");
        assert_eq!(log.invoices[2].customer, None);
        assert_eq!(log.invoices[2].lines[0].quantity, Decimal::from(-1));
        let names: Vec<&str> = log.products.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["HOLDER", "LATER NAMED", "Discount"]);
        assert_eq!(log.customers, ["17850", "1"]);
    }

    #[test]
    fn finds_columns_by_name_in_any_order() {
        let log = log(
            "Unit Price,Qty,Customer ID,Product,Date\n3,1.5,a,x,2024-02-29\n4,1,a,y,2024-02-29\n1,1,b,x,2024-02-29\n",
        );
        assert_eq!(log.invoices.len(), 2, "without invoice numbers, by customer and time");
        assert_eq!(log.invoices[0].lines[0].quantity.to_string(), "1.5");
        let error = parse("date,product,quantity\n".as_bytes(), "log.csv").unwrap_err().to_string();
        assert!(error.contains("no column for the unit price"), "{error}");
    }

    #[test]
    fn counts_what_is_not_a_line() {
        let log = log("date,product,quantity,price\n\
             ,x,1,1\nyesterday,x,1,1\n2024-01-01,,1,1\n2024-01-01,x,many,1\n2024-01-01,x,1,NaN\n2024-01-01,x\n\
             2024-01-01,x,1e30,1\n2024-01-01,x,999999999,999999999\n2024-01-01,x,2E1,1\n");
        assert_eq!((log.rejected, log.invoices.len()), (8, 1));
        assert_eq!(log.invoices[0].lines[0].quantity, Decimal::from(20));
        assert!(parse("".as_bytes(), "log.csv").unwrap_err().to_string().contains("no column"));
    }
}
