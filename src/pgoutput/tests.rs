#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use chrono::{TimeZone, Utc};
use proptest::prelude::*;

use super::*;

// A small encoder: the protocol's documentation, the other way round.

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// One column as the tests write it.
#[derive(Debug, Clone, PartialEq)]
enum Column {
    Null,
    Unchanged,
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

fn tuple(out: &mut Vec<u8>, columns: &[Column]) {
    out.extend_from_slice(&(columns.len() as i16).to_be_bytes());
    for column in columns {
        let (kind, value) = match column {
            Column::Null => (b'n', None),
            Column::Unchanged => (b'u', None),
            Column::Text(value) => (b't', Some(value)),
            Column::Binary(value) => (b'b', Some(value)),
        };
        out.push(kind);
        if let Some(value) = value {
            out.extend_from_slice(&(value.len() as i32).to_be_bytes());
            out.extend_from_slice(value);
        }
    }
}

fn columns_of(tuple: Tuple<'_>) -> Vec<Column> {
    assert_eq!(tuple.iter().count(), tuple.len());
    tuple
        .into_iter()
        .map(|value| match value {
            Value::Null => Column::Null,
            Value::Unchanged => Column::Unchanged,
            Value::Text(raw) => Column::Text(raw.to_vec()),
            Value::Binary(raw) => Column::Binary(raw.to_vec()),
        })
        .collect()
}

fn change(tag: u8, relation: u32, rows: &[(u8, &[Column])]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend_from_slice(&relation.to_be_bytes());
    for (kind, row) in rows {
        out.push(*kind);
        tuple(&mut out, row);
    }
    out
}

fn begin(lsn: u64, micros: i64, xid: u32) -> Vec<u8> {
    [&b"B"[..], &lsn.to_be_bytes(), &micros.to_be_bytes(), &xid.to_be_bytes()].concat()
}

fn commit(lsn: u64, end: u64, micros: i64) -> Vec<u8> {
    [&b"C\0"[..], &lsn.to_be_bytes(), &end.to_be_bytes(), &micros.to_be_bytes()].concat()
}

fn origin(lsn: u64, name: &str) -> Vec<u8> {
    [&b"O"[..], &lsn.to_be_bytes(), name.as_bytes(), b"\0"].concat()
}

fn type_message(oid: u32, namespace: &str, name: &str) -> Vec<u8> {
    [&b"Y"[..], &oid.to_be_bytes(), namespace.as_bytes(), b"\0", name.as_bytes(), b"\0"].concat()
}

fn truncate(options: u8, oids: &[u32]) -> Vec<u8> {
    let mut out = [&b"T"[..], &(oids.len() as i32).to_be_bytes(), &[options]].concat();
    oids.iter().for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
    out
}

fn logical(flags: u8, lsn: u64, prefix: &str, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as i32).to_be_bytes();
    [&[b'M', flags][..], &lsn.to_be_bytes(), prefix.as_bytes(), b"\0", &length, content].concat()
}

fn relation(relation: &Relation) -> Vec<u8> {
    let mut out = [&b"R"[..], &relation.oid.to_be_bytes()].concat();
    string(&mut out, &relation.namespace);
    string(&mut out, &relation.name);
    out.push(match relation.replica_identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    });
    out.extend_from_slice(&(relation.columns.len() as i16).to_be_bytes());
    for column in &relation.columns {
        out.push(u8::from(column.key));
        string(&mut out, &column.name);
        out.extend_from_slice(&column.type_oid.to_be_bytes());
        out.extend_from_slice(&column.type_modifier.to_be_bytes());
    }
    out
}

fn sales() -> Relation {
    let column = |key, name: &str, type_oid, type_modifier| RelationColumn {
        key,
        name: name.to_string(),
        type_oid,
        type_modifier,
    };
    Relation {
        oid: 16_390,
        namespace: "tenant_центр".to_string(),
        name: "sales_sale".to_string(),
        replica_identity: ReplicaIdentity::Default,
        columns: vec![column(true, "id", 20, -1), column(false, "total_amount", 1700, 786_438)],
    }
}

/// One valid message of each kind and form.
fn examples() -> Vec<Vec<u8>> {
    let key = [Column::Text(b"7".to_vec()), Column::Null];
    let row = [Column::Binary(7_i64.to_be_bytes().to_vec()), Column::Unchanged];
    vec![
        begin(0x16_B374_D848, 0, 731),
        commit(1, 2, -1),
        origin(9, "elsewhere"),
        relation(&sales()),
        type_message(16_500, "public", "status"),
        change(b'I', 1, &[(b'N', &row)]),
        change(b'U', 1, &[(b'N', &row)]),
        change(b'U', 1, &[(b'K', &key), (b'N', &row)]),
        change(b'U', 1, &[(b'O', &row), (b'N', &row)]),
        change(b'D', 1, &[(b'K', &key)]),
        change(b'D', 1, &[(b'O', &row)]),
        change(b'I', 1, &[(b'N', &[])]),
        truncate(3, &[1, 2]),
        logical(1, 5, "till", b"\0\xff"),
    ]
}

#[test]
fn reads_transaction_boundaries() {
    let time = Utc.with_ymd_and_hms(2000, 1, 1, 0, 0, 1).unwrap();
    let message = Message::Begin { final_lsn: Lsn(0x16_B374_D848), commit_time: time, xid: 731 };
    assert_eq!(decode(&begin(0x16_B374_D848, 1_000_000, 731)), Ok(message));
    let message = Message::Commit { commit_lsn: Lsn(1), end_lsn: Lsn(2), commit_time: time };
    assert_eq!(decode(&commit(1, 2, 1_000_000)), Ok(message));
    assert_eq!(decode(&origin(9, "x")), Ok(Message::Origin { commit_lsn: Lsn(9), name: "x" }));
    let message = Message::Logical { transactional: true, lsn: Lsn(5), prefix: "p", content: b"\0\xff" };
    assert_eq!(decode(&logical(1, 5, "p", b"\0\xff")), Ok(message));
}

#[test]
fn reads_relations_and_types() {
    assert_eq!(decode(&relation(&sales())), Ok(Message::Relation(sales())));
    let catalog = Relation { namespace: String::new(), ..sales() };
    let Ok(Message::Relation(read)) = decode(&relation(&catalog)) else { panic!() };
    assert_eq!((read.namespace.as_str(), read.column("total_amount"), read.column("x")), ("pg_catalog", Some(1), None));
    let message = Message::Type { oid: 16_500, namespace: "public", name: "status" };
    assert_eq!(decode(&type_message(16_500, "public", "status")), Ok(message));
}

#[test]
fn reads_changes_byte_for_byte() {
    let bytes = b"U\0\0\x40\x06K\0\x02t\0\0\0\x017nN\0\x03b\0\0\0\x02\x01\x02unt";
    assert!(decode(bytes).is_err(), "a fourth kind without a column");
    let bytes = &bytes[..bytes.len() - 1];
    let Message::Update { relation: 16_390, old: Some(OldRow::Key(key)), new } = decode(bytes).unwrap() else {
        panic!()
    };
    assert_eq!(key.iter().collect::<Vec<_>>(), [Value::Text(b"7"), Value::Null]);
    assert_eq!(new.iter().collect::<Vec<_>>(), [Value::Binary(&[1, 2]), Value::Unchanged, Value::Null]);
    assert_eq!((new.get(1), new.get(3)), (Some(Value::Unchanged), None));

    let bytes = truncate(1, &[7, 8]);
    let Message::Truncate { relations, cascade: true, restart_identity: false } = decode(&bytes).unwrap() else {
        panic!()
    };
    assert_eq!(relations.iter().collect::<Vec<_>>(), [7, 8]);
}

#[test]
fn refuses_what_version_1_does_not_have() {
    for tag in *b"SEcAbPKrp" {
        let error = decode(&[tag, 0, 0]).unwrap_err();
        assert!(error.to_string().ends_with("is not part of protocol version 1"), "{error}");
    }
    for tag in *b"\0zn" {
        assert_eq!(decode(&[tag]), Err(DecodeError::UnknownTag { tag }));
    }
    assert_eq!(decode(&[]), Err(DecodeError::Empty));
}

#[test]
fn errors_name_the_place() {
    let cases: [(&[u8], &str); 8] = [
        (b"I\0\0\0\x01N\xff\xff", "pgoutput Insert message, byte 6: expected a number of columns"),
        (b"I\0\0\0\x01X", "pgoutput Insert message, byte 5: expected a new tuple (N)"),
        (b"I\0\0\0\x01N\0\x01x", "pgoutput Insert message, byte 8: expected a column kind (n, u, t or b)"),
        (b"I\0\0\0\x01N\0\x01t\xff\xff\xff\xff", "pgoutput Insert message, byte 9: expected a value length"),
        (
            b"I\0\0\0\x01N\0\x01t\x7f\xff\xff\xffa",
            "pgoutput Insert message, byte 13: expected as many value bytes as the length says",
        ),
        (b"U\0\0\0\x01X\0\0", "pgoutput Update message, byte 5: expected a key (K), an old row (O) or a new tuple (N)"),
        (b"D\0\0\0\x01N\0\0", "pgoutput Delete message, byte 5: expected a key (K) or an old row (O)"),
        (b"T\x7f\xff\xff\xff\0\0\0", "pgoutput Truncate message, byte 6: expected as many oids as the number says"),
    ];
    for (bytes, text) in cases {
        assert_eq!(decode(bytes).unwrap_err().to_string(), text);
    }
    assert!(decode(&begin(1, i64::MAX, 1)).unwrap_err().to_string().ends_with("a commit time within range"));
}

#[test]
fn short_and_long_messages_are_errors() {
    for message in examples() {
        decode(&message).unwrap();
        for length in 0..message.len() {
            assert!(decode(&message[..length]).is_err(), "{length} bytes of {message:?}");
        }
        let longer = [&message[..], b"\0"].concat();
        assert!(decode(&longer).unwrap_err().to_string().ends_with("the end of the message"), "{message:?}");
    }
}

#[test]
fn the_cache_tells_what_changed() {
    let mut cache = RelationCache::new();
    assert_eq!(cache.replace(sales()).1, RelationChange::New);
    let known = cache.get(16_390).unwrap().clone();
    let (same, change) = cache.replace(sales());
    assert_eq!(change, RelationChange::Same);
    assert!(std::sync::Arc::ptr_eq(&known, &same));
    let mut altered = sales();
    altered.columns.truncate(1);
    assert_eq!(cache.replace(altered.clone()).1, RelationChange::Changed);
    assert_eq!(**cache.get(16_390).unwrap(), altered);
    assert_eq!((cache.len(), cache.get(1)), (1, None));
}

fn any_columns() -> impl Strategy<Value = Vec<Column>> {
    let column = prop_oneof![
        Just(Column::Null),
        Just(Column::Unchanged),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Column::Text),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Column::Binary),
    ];
    proptest::collection::vec(column, 0..12)
}

proptest! {
    #[test]
    fn changes_come_back_as_they_were_written(relation: u32, old in any_columns(), new in any_columns(), kind in 0..3) {
        let bytes = match kind {
            0 => change(b'U', relation, &[(b'N', &new)]),
            1 => change(b'U', relation, &[(b'K', &old), (b'N', &new)]),
            _ => change(b'U', relation, &[(b'O', &old), (b'N', &new)]),
        };
        let Ok(Message::Update { relation: read, old: old_row, new: new_row }) = decode(&bytes) else { panic!() };
        prop_assert_eq!(read, relation);
        prop_assert_eq!(columns_of(new_row), new);
        match (kind, old_row) {
            (0, None) => {}
            (1, Some(OldRow::Key(row))) | (2, Some(OldRow::Full(row))) => prop_assert_eq!(columns_of(row), old),
            _ => prop_assert!(false, "{old_row:?}"),
        }
        for length in 0..bytes.len() {
            prop_assert!(decode(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn no_bytes_panic(tag in prop_oneof![any::<u8>(), proptest::sample::select(&b"BCORYIUDTM"[..])],
                      bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0..4_u8, Just(b'N'), Just(b't')], 0..80)) {
        let bytes = [&[tag][..], &bytes].concat();
        if let Ok(Message::Insert { new, .. } | Message::Update { new, .. }) = decode(&bytes) {
            prop_assert_eq!(new.iter().count(), new.len());
        }
        for value in [Value::Text(&bytes), Value::Binary(&bytes)] {
            for oid in [16, 20, 21, 23, 25, 1082, 1184, 1700, 99_999] {
                let _ = (value.as_i64(oid), value.as_decimal(oid), value.as_instant(oid));
                let _ = (value.as_date(oid), value.as_bool(oid), value.as_str(oid));
            }
        }
    }

    #[test]
    fn flipped_bytes_never_panic(which in 0..14_usize, at: prop::sample::Index, to: u8) {
        let mut bytes = examples()[which].clone();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = decode(&bytes);
    }
}
