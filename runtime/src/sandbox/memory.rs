//! The memory that a zygote's forks will use, so that it can be made present ahead of a call, not by a page fault each
//! during it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::jail::{Access, populate};

/// What a call's own frames need of the stack below the zygote's, in bytes.
const STACK_AHEAD: usize = 32 * 1024;
/// Stretches of code that lie closer than this are made present together, in bytes.
const GAP: usize = 64 * 1024;
/// Bit 63 of an entry of /proc/PID/pagemap: the page is present.
const PRESENT: u64 = 1 << 63;

/// A stretch of addresses: start and length.
type Range = (usize, usize);

/// What a zygote has mapped, of which its forks will need the most part.
#[derive(Debug, Default)]
pub(super) struct HotMemory {
    /// Private writable memory; of the stack only what is in use. A fork copies each page when it first writes to it.
    written: Vec<Range>,
    /// Code and constants that the zygote has touched while it loaded the connector. A fork doesn't inherit these entries of
    /// the page table, and the engine at work needs much the same ones.
    read: Vec<Range>,
}

impl HotMemory {
    /// Looks through /proc/self; without it, nothing is made present ahead.
    pub(super) fn of_this_process() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let here = std::ptr::from_ref(&maps) as usize;
        let pagemap = open_pagemap();
        let mut memory = Self::default();
        for mapping in maps.lines().filter_map(Mapping::parse) {
            if mapping.is_writable {
                memory.written.push(mapping.used_part(here));
            } else if let (true, Some(pagemap)) = (mapping.is_file, &pagemap) {
                memory.read.extend(present_ranges(&mapping, pagemap));
            }
        }
        memory
    }

    /// Makes all of it present in this process.
    pub(super) fn populate(&self) {
        for &(start, len) in &self.written {
            populate(start, len, Access::Write);
        }
        for &(start, len) in &self.read {
            populate(start, len, Access::Read);
        }
    }
}

/// Takes the free chunks out of the allocator's lists, so that what is allocated from here on lies together at the heap's end.
/// A fork copies each page that it writes to: a few full pages at the end are cheaper than a hole in every page.
pub(super) fn fill_holes() {
    /// The engine's small objects, strings and property lists.
    const SIZES: std::ops::RangeInclusive<usize> = 16..=4096;
    /// More chunks of one size than this are not holes but a heap of another kind.
    const MAX_CHUNKS: usize = 4096;
    let end = Vec::<u8>::with_capacity(64 * 1024).leak().as_ptr() as usize;
    for size in SIZES.rev().step_by(16) {
        for _ in 0..MAX_CHUNKS {
            let chunk = Vec::<u8>::with_capacity(size);
            if chunk.as_ptr() as usize > end {
                break;
            }
            std::mem::forget(chunk);
        }
    }
}

/// A line of /proc/PID/maps that is private.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    end: usize,
    is_writable: bool,
    is_file: bool,
}

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let access = fields.next()?;
        let inode = fields.nth(2)?;
        access.ends_with('p').then_some(Self {
            start: usize::from_str_radix(start, 16).ok()?,
            end: usize::from_str_radix(end, 16).ok()?,
            is_writable: access.starts_with("rw"),
            is_file: inode != "0" && access.starts_with('r'),
        })
    }

    /// The whole mapping; of the stack, which holds the address `here`, what lies above a little below it.
    fn used_part(&self, here: usize) -> Range {
        let start = if (self.start..self.end).contains(&here) {
            here.saturating_sub(STACK_AHEAD).max(self.start) & !(page_size() - 1)
        } else {
            self.start
        };
        (start, self.end - start)
    }
}

/// The page table's own file is readable by a process that may be dumped; a zygote may be for this moment.
fn open_pagemap() -> Option<File> {
    set_dumpable_behavior(DumpableBehavior::Dumpable).ok()?;
    let pagemap = File::open("/proc/self/pagemap");
    set_dumpable_behavior(DumpableBehavior::NotDumpable).ok()?;
    pagemap.ok()
}

fn present_ranges(mapping: &Mapping, pagemap: &File) -> Vec<Range> {
    const ENTRY: usize = size_of::<u64>();
    let page = page_size();
    let n_pages = (mapping.end - mapping.start) / page;
    let mut entries = vec![0; n_pages * ENTRY];
    if pagemap.read_exact_at(&mut entries, (mapping.start / page * ENTRY) as u64).is_err() {
        return Vec::new();
    }
    let (entries, _) = entries.as_chunks::<ENTRY>();
    let present = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| u64::from_ne_bytes(**entry) & PRESENT != 0)
        .map(|(i, _)| mapping.start + i * page);
    joined(present, page)
}

/// Pages, in order, as stretches.
fn joined(pages: impl Iterator<Item = usize>, page: usize) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for at in pages {
        match ranges.last_mut() {
            Some((start, len)) if at - (*start + *len) <= GAP => *len = at + page - *start,
            _ => ranges.push((at, page)),
        }
    }
    ranges
}

fn page_size() -> usize {
    rustix::param::page_size()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_are_read() {
        let heap = Mapping::parse("55e0c0000000-55e0c0021000 rw-p 00000000 00:00 0    [heap]").unwrap();
        assert_eq!((heap.start, heap.end - heap.start), (0x55e0_c000_0000, 0x21000));
        assert!(heap.is_writable && !heap.is_file);
        let text = Mapping::parse("55e0b0000000-55e0b1000000 r-xp 00200000 fe:00 1234   /usr/bin/portcullis")
            .unwrap();
        assert!(!text.is_writable && text.is_file);
        assert_eq!(Mapping::parse("7f0000000000-7f0000001000 rw-s 00000000 00:01 9  /memfd:x"), None);
        assert_eq!(Mapping::parse("nonsense"), None);
    }

    #[test]
    fn near_pages_are_one_stretch() {
        let pages = [0, 0x1000, 0x3000, 0x100_0000, 0x100_1000];
        assert_eq!(joined(pages.into_iter(), 0x1000), [(0, 0x4000), (0x100_0000, 0x2000)]);
    }

    #[test]
    fn of_the_stack_only_the_used_part_counts() {
        let stack = Mapping { start: 0x10_0000, end: 0x90_0000, is_writable: true, is_file: false };
        let (start, len) = stack.used_part(0x8f_0123);
        assert_eq!((start, start + len), ((0x8f_0123 - STACK_AHEAD) & !0xfff, 0x90_0000));
        assert_eq!(stack.used_part(0x1000), (0x10_0000, 0x80_0000));
    }
}
