//! The transformed program as text, with a mark for each place whose origin is known.

use std::io::{self, Write};

use swc_core::common::sync::Lrc;
use swc_core::common::{BytePos, LineCol, SourceMap};
use swc_core::ecma::ast::Program;
use swc_core::ecma::codegen::text_writer::JsWriter;
use swc_core::ecma::codegen::{Config, Emitter};

/// Where a byte of the source went: its position, and the line and column (of UTF-16 units, both from 0) in the script.
pub(super) type Mark = (BytePos, LineCol);

/// One statement a line and no indentation: 5,000 nested blocks in 10 KB would print 100 MB of spaces.
///
/// # Errors
/// The script grew past `max_bytes`.
pub(super) fn print(
    program: &Program,
    source_map: &Lrc<SourceMap>,
    max_bytes: usize,
) -> io::Result<(String, Vec<Mark>)> {
    let mut output = CappedOutput { bytes: Vec::new(), max_bytes };
    let mut marks = Vec::new();
    let mut writer = JsWriter::new(Lrc::clone(source_map), "\n", &mut output, Some(&mut marks));
    writer.set_indent_str("");
    // Not `ascii_only`: it changes what `String.raw` sees, and breaks `/\é/` and `(?<é>…)`.
    let cfg = Config::default();
    Emitter { cfg, cm: Lrc::clone(source_map), comments: None, wr: writer }.emit_program(program)?;
    let script = String::from_utf8(output.bytes).map_err(io::Error::other)?;
    Ok((script, marks))
}

struct CappedOutput {
    bytes: Vec<u8>,
    max_bytes: usize,
}

impl Write for CappedOutput {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.max_bytes - self.bytes.len() {
            let message = format!("the compiled script is larger than {} bytes", self.max_bytes);
            return Err(io::Error::other(message));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
