//! Position maps: lookups, their encoding against any bytes, and columns in all units.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn map(mappings: &[(u32, u32, u32, u32)]) -> PositionMap {
    let mapping =
        |&(script_line, script_column, line, column)| Mapping { script_line, script_column, line, column };
    PositionMap { mappings: mappings.iter().map(mapping).collect() }
}

#[test]
fn a_lookup_finds_the_nearest_mapping_at_or_before_on_the_line() {
    let map = map(&[(1, 5, 10, 1), (1, 9, 10, 4), (3, 1, 12, 2)]);
    assert_eq!(map.lookup(1, 4), None);
    assert_eq!(map.lookup(1, 5), Some((10, 1)));
    assert_eq!(map.lookup(1, 8), Some((10, 1)));
    assert_eq!(map.lookup(1, u32::MAX), Some((10, 4)));
    assert_eq!(map.lookup(2, 7), None);
    assert_eq!(map.lookup(3, 1), Some((12, 2)));
    assert_eq!(map.lookup(0, 0), None);
}

#[test]
fn a_map_that_is_cut_short_or_out_of_range_is_refused() {
    let bytes = map(&[(1, 5, 10, 1), (300, 9, 1, 4)]).to_bytes();
    for n_bytes in 0..bytes.len() {
        let cut = PositionMap::from_bytes(&bytes[..n_bytes]);
        // The end of a mapping is an end of the map, too.
        assert!(cut.is_err() || cut.is_ok_and(|map| map.mappings.len() < 2), "{n_bytes}");
    }
    let of = |numbers: &[u8]| PositionMap::from_bytes(&[MAGIC, numbers].concat()).map_err(|error| error.0);
    assert_eq!(of(&[0, 0, 0, 0]), Err("two mappings at one place"));
    assert_eq!(of(&[0, 1, 1, 0]), Err("a position out of range"), "line 0");
    assert_eq!(of(&[0, 1, 0, 1]), Err("a position out of range"), "column 0");
    assert_eq!(of(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 0, 0]), Err("a position out of range"), "line 2^32");
    assert_eq!(of(&[0x80, 0x80, 0x80, 0x80, 0x80, 0, 1, 0, 0]), Err("a number out of range"));
    assert_eq!(PositionMap::from_bytes(b"PMP2").map_err(|error| error.0), Err("unknown format"));
}

#[test]
fn columns_convert_between_units() {
    let text = "abc\né😀x\n";
    let cases = [
        (Unit::Bytes, Unit::Chars, [(0, 0), (2, 1), (6, 2), (7, 3)]),
        (Unit::Bytes, Unit::Utf16, [(0, 0), (2, 1), (6, 3), (7, 4)]),
        (Unit::Utf16, Unit::Bytes, [(0, 0), (1, 2), (3, 6), (4, 7)]),
        (Unit::Chars, Unit::Utf16, [(0, 0), (1, 1), (2, 3), (3, 4)]),
    ];
    for (from, to, columns) in cases {
        let table = ColumnTable::new(text, from, to);
        for (column, expected) in columns {
            assert_eq!(table.convert(1, column), expected, "{column}");
        }
        assert_eq!(table.convert(0, 2), 2);
        assert_eq!(table.convert(2, 0), 0);
    }
}

#[test]
fn base64_vlq_is_as_source_maps_write_it() {
    let mut text = String::new();
    for number in [0, 1, -1, 15, 16, -16, 123_456_789] {
        write_base64_vlq(&mut text, number);
        text.push(' ');
    }
    assert_eq!(text, "A C D e gB hB qxmvrH ");
}

prop_compose! {
    fn any_map()(
        mappings in btree_map((1..=u32::MAX, 1..=u32::MAX), (1..=u32::MAX, 1..=u32::MAX), 0..40),
    ) -> PositionMap {
        let mapping = |((script_line, script_column), (line, column))| {
            Mapping { script_line, script_column, line, column }
        };
        PositionMap { mappings: mappings.into_iter().map(mapping).collect() }
    }
}

proptest! {
    #[test]
    fn any_map_survives_its_encoding(map in any_map()) {
        prop_assert_eq!(PositionMap::from_bytes(&map.to_bytes()), Ok(map));
    }

    #[test]
    fn any_bytes_are_a_map_or_refused(mut bytes in vec(any::<u8>(), 0..200), has_magic: bool) {
        if has_magic {
            bytes.splice(0..0, *MAGIC);
        }
        if let Ok(map) = PositionMap::from_bytes(&bytes) {
            prop_assert!(map.mappings.is_sorted_by_key(Mapping::place));
            prop_assert!(map.mappings.len() <= bytes.len() / MIN_MAPPING_BYTES);
            prop_assert_eq!(PositionMap::from_bytes(&map.to_bytes()), Ok(map));
        }
    }

    #[test]
    fn a_damaged_map_does_no_harm(map in any_map(), place: prop::sample::Index, byte: u8) {
        let mut bytes = map.to_bytes();
        let i = place.index(bytes.len());
        bytes[i] = byte;
        if let Ok(map) = PositionMap::from_bytes(&bytes) {
            map.lookup(1, 1);
        }
    }

    #[test]
    fn a_byte_is_found_where_counting_finds_it(text in "[aé😀\n]{0,30}") {
        let index = TextIndex::new(&text);
        for (offset, _) in text.char_indices().chain([(text.len(), ' ')]) {
            let before = &text[..offset];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|&character| character != '\n').count() + 1;
            let (found_line, found_column) = index.position(offset);
            prop_assert_eq!((found_line as usize, found_column as usize), (line, column));
        }
    }
}
