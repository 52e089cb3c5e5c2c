//! Positions in a compiled script translated to positions in the author's file.

use std::fmt::Write as _;

use swc_core::common::BytePos;

use super::{offset, print};

/// Where each place of a script comes from.
///
/// Lines and columns count from 1. A column of the script is in bytes of UTF-8, as QuickJS counts; one of the source is in
/// characters (Unicode scalar values), as people count. A byte order mark isn't counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PositionMap {
    /// In the order of the script.
    mappings: Vec<Mapping>,
}

/// The fields' order makes mappings sort by the place in the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Mapping {
    script_line: u32,
    script_column: u32,
    line: u32,
    column: u32,
}

/// Why bytes aren't a position map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("reading a position map: {0}")]
pub struct PositionMapError(&'static str);

/// The first bytes of the encoding, and its version.
const MAGIC: &[u8; 4] = b"PMP1";
/// A mapping takes one byte for each of its four numbers at least.
const MIN_MAPPING_BYTES: usize = 4;

impl PositionMap {
    pub(super) fn from_marks(marks: &[print::Mark], start: BytePos, text: &str, script: &str) -> Self {
        let index = TextIndex::new(text);
        let columns = ColumnTable::new(script, Unit::Utf16, Unit::Bytes);
        let mapping = |&(position, place): &print::Mark| {
            let (line, column) = index.position(offset(position, start, text.len())?);
            let script_column = columns.convert(place.line, place.col) + 1;
            Some(Mapping { script_line: place.line + 1, script_column, line, column })
        };
        let mut mappings: Vec<Mapping> = marks.iter().filter_map(mapping).collect();
        mappings.sort_by_key(Mapping::place);
        // Of several marks at one place the last belongs to the innermost node, the one that begins there.
        mappings.reverse();
        mappings.dedup_by_key(|mapping| mapping.place());
        mappings.reverse();
        Self { mappings }
    }

    /// The line and column in the source of what stands at a line and column of the script: those of the nearest mapping
    /// at or before it on its line.
    pub fn lookup(&self, line: u32, column: u32) -> Option<(u32, u32)> {
        let n_before = self.mappings.partition_point(|mapping| mapping.place() <= (line, column));
        let nearest = self.mappings.get(n_before.checked_sub(1)?)?;
        (nearest.script_line == line).then_some((nearest.line, nearest.column))
    }

    /// A compact encoding, for [`from_bytes`](Self::from_bytes).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let mut previous = ORIGIN;
        for &mapping in &self.mappings {
            let n_lines = mapping.script_line - previous.script_line;
            let column_before = if n_lines == 0 { previous.script_column } else { 0 };
            write_varint(&mut bytes, u64::from(n_lines));
            write_varint(&mut bytes, u64::from(mapping.script_column - column_before));
            write_signed(&mut bytes, i64::from(mapping.line) - i64::from(previous.line));
            write_signed(&mut bytes, i64::from(mapping.column) - i64::from(previous.column));
            previous = mapping;
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote. Memory stays within four times the bytes, whatever they are.
    ///
    /// # Errors
    /// The bytes are of another format, cut short, out of order or out of range.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PositionMapError> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(PositionMapError("unknown format"))?;
        let mut mappings = Vec::with_capacity(rest.len() / MIN_MAPPING_BYTES);
        let mut previous = ORIGIN;
        while !rest.is_empty() {
            previous = read_mapping(&mut rest, previous)?;
            mappings.push(previous);
        }
        Ok(Self { mappings })
    }

    pub(super) fn to_source_map_json(&self, file_name: &str, source: &str, script: &str) -> String {
        let source_columns = ColumnTable::new(&super::normalize(source), Unit::Chars, Unit::Utf16);
        let script_columns = ColumnTable::new(script, Unit::Bytes, Unit::Utf16);
        let mut json = format!("{{\"version\":3,\"sources\":[{}],", json_string(file_name));
        let _ = write!(json, "\"sourcesContent\":[{}],\"names\":[],\"mappings\":\"", json_string(source));
        let mut previous = [0i64; 3];
        let mut script_line = 1;
        for mapping in &self.mappings {
            let is_first_of_line = mapping.script_line > script_line || json.ends_with('"');
            for _ in script_line..mapping.script_line {
                json.push(';');
                previous[0] = 0;
            }
            if !is_first_of_line {
                json.push(',');
            }
            script_line = mapping.script_line;
            let next = [
                i64::from(script_columns.convert(mapping.script_line - 1, mapping.script_column - 1)),
                i64::from(mapping.line - 1),
                i64::from(source_columns.convert(mapping.line - 1, mapping.column - 1)),
            ];
            write_base64_vlq(&mut json, next[0] - previous[0]);
            write_base64_vlq(&mut json, 0);
            write_base64_vlq(&mut json, next[1] - previous[1]);
            write_base64_vlq(&mut json, next[2] - previous[2]);
            previous = next;
        }
        json.push_str("\"}");
        json
    }
}

/// What the first mapping is encoded relative to.
const ORIGIN: Mapping = Mapping { script_line: 1, script_column: 0, line: 1, column: 1 };

impl Mapping {
    fn place(&self) -> (u32, u32) {
        (self.script_line, self.script_column)
    }
}

fn read_mapping(bytes: &mut &[u8], previous: Mapping) -> Result<Mapping, PositionMapError> {
    let n_lines = read_varint(bytes)?;
    let n_columns = read_varint(bytes)?;
    let line = read_signed(bytes)?.checked_add(i64::from(previous.line));
    let column = read_signed(bytes)?.checked_add(i64::from(previous.column));
    if n_columns == 0 {
        return Err(PositionMapError("two mappings at one place"));
    }
    let column_before = if n_lines == 0 { previous.script_column } else { 0 };
    Ok(Mapping {
        script_line: from_one(n_lines.checked_add(u64::from(previous.script_line)))?,
        script_column: from_one(n_columns.checked_add(u64::from(column_before)))?,
        line: from_one(line)?,
        column: from_one(column)?,
    })
}

/// A line or column: at least 1, and in 32 bits.
fn from_one<N: TryInto<u32>>(number: Option<N>) -> Result<u32, PositionMapError> {
    let number = number.and_then(|number| number.try_into().ok());
    number.filter(|&number| number > 0).ok_or(PositionMapError("a position out of range"))
}

fn write_varint(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = (number & 0x7f).to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn write_signed(bytes: &mut Vec<u8>, number: i64) {
    write_varint(bytes, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

fn read_varint(bytes: &mut &[u8]) -> Result<u64, PositionMapError> {
    let mut number = 0u64;
    // 35 bits: a difference of two 32-bit numbers and its sign need 34.
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, rest) = bytes.split_first().ok_or(PositionMapError("cut short"))?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(PositionMapError("a number out of range"))
}

fn read_signed(bytes: &mut &[u8]) -> Result<i64, PositionMapError> {
    let number = read_varint(bytes)?;
    Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

/// One number of a source map's mappings, in base 32 digits written as base64.
fn write_base64_vlq(text: &mut String, number: i64) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut rest = (number.unsigned_abs() << 1) | u64::from(number < 0);
    loop {
        let [digit, ..] = (rest & 0x1f).to_le_bytes();
        rest >>= 5;
        let digit = if rest == 0 { digit } else { digit | 0x20 };
        text.push(char::from(DIGITS[usize::from(digit)]));
        if rest == 0 {
            return;
        }
    }
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Finds the line and column of a byte.
pub(super) struct TextIndex {
    /// The first byte of each line.
    line_starts: Vec<usize>,
    columns: ColumnTable,
    n_bytes: usize,
}

impl TextIndex {
    pub(super) fn new(text: &str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(newline, _)| newline + 1);
        let line_starts = std::iter::once(0).chain(after_newlines).collect();
        Self { line_starts, columns: ColumnTable::new(text, Unit::Bytes, Unit::Chars), n_bytes: text.len() }
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// The line and column, in characters, both from 1.
    pub(super) fn position(&self, offset: usize) -> (u32, u32) {
        let line = self.line_starts.partition_point(|&start| start <= offset) - 1;
        let column = offset - self.line_starts[line];
        // A source is at most 512 KB; swc itself counts in 32 bits.
        let (line, column) = (saturated(line), saturated(column));
        (line + 1, self.columns.convert(line, column) + 1)
    }
}

fn saturated(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX - 1)
}

/// What a column counts.
#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Utf16,
    Chars,
}

impl Unit {
    fn width(self, character: char) -> u32 {
        match self {
            Self::Bytes => saturated(character.len_utf8()),
            Self::Utf16 => saturated(character.len_utf16()),
            Self::Chars => 1,
        }
    }
}

/// Converts columns from one unit to another; lines and columns from 0. It holds an entry for each character that differs.
struct ColumnTable(Vec<Shift>);

/// From this column on, up to the next shift of the line, columns move by a number.
struct Shift {
    line: u32,
    column: u32,
    by: i64,
}

impl ColumnTable {
    fn new(text: &str, from: Unit, to: Unit) -> Self {
        let mut shifts = Vec::new();
        for (line, content) in (0u32..).zip(text.split('\n')) {
            let (mut column, mut by) = (0, 0);
            if content.is_ascii() {
                continue;
            }
            for character in content.chars() {
                let (width, width_after) = (from.width(character), to.width(character));
                column += width;
                if width != width_after {
                    by += i64::from(width_after) - i64::from(width);
                    shifts.push(Shift { line, column, by });
                }
            }
        }
        Self(shifts)
    }

    fn convert(&self, line: u32, column: u32) -> u32 {
        let n_before = self.0.partition_point(|shift| (shift.line, shift.column) <= (line, column));
        let nearest = n_before.checked_sub(1).and_then(|i| self.0.get(i)).filter(|shift| shift.line == line);
        let by = nearest.map_or(0, |shift| shift.by);
        u32::try_from(i64::from(column) + by).unwrap_or(column)
    }
}

#[cfg(test)]
mod tests;
