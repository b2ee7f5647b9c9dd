//! What a tracepoint's sample means: the fields that its format names, to an event of ours.
//!
//! Never guesses an offset. Invariant: the fields of `mm_page_alloc` and `mm_page_free`, and every order of every kmem
//! event, are read by the recording's own description, and refused like those of a text.

use std::sync::Arc;

use tracepoint_decode::{PerfByteReader, PerfEventFormat, PerfFieldArray, PerfFieldFormat};
use zonal::Order;

use super::super::event::{Event, Run};
use super::super::fault::{EventFault, PerfDataFault, Reason};
use super::super::flags;
use super::gfp::Bits;

/// How to read the samples of one tracepoint.
#[derive(Debug)]
pub(super) struct Layout {
    format: Arc<PerfEventFormat>,
    act: Act,
    bits: Bits,
}

/// What an event does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    Alloc,
    Free,
    OtherKmem,
    Foreign,
}

impl Layout {
    /// The layout of a format.
    pub(super) fn of(format: &Arc<PerfEventFormat>) -> Self {
        let act = match (format.system_name(), format.name()) {
            ("kmem", "mm_page_alloc") => Act::Alloc,
            ("kmem", "mm_page_free") => Act::Free,
            ("kmem", _) => Act::OtherKmem,
            _ => Act::Foreign,
        };
        let bits = if act == Act::Alloc { Bits::of(format.print_fmt()) } else { Bits::default() };
        Self { format: Arc::clone(format), act, bits }
    }

    /// What a sample's data says.
    pub(super) fn decode(&self, data: &[u8], reader: PerfByteReader) -> Result<Event, Reason> {
        let sample = Sample { format: &self.format, data, reader };
        sample.check_type()?;
        Ok(match self.act {
            Act::Foreign => Event::Foreign,
            Act::OtherKmem => sample.orders().map(|()| Event::OtherKmem)?,
            Act::Free => Event::Free(sample.run(sample.required("pfn")?)?),
            Act::Alloc => self.alloc(&sample)?,
        })
    }

    fn alloc(&self, sample: &Sample<'_>) -> Result<Event, EventFault> {
        let pfn = sample.required("pfn")?;
        if pfn == 0 || pfn == sample.nowhere() {
            sample.order()?;
            return Ok(Event::Failure);
        }
        let run = sample.run(pfn)?;
        let named = self.bits.flags(sample.value("gfp_flags").unwrap_or(0));
        Ok(Event::Alloc(run, flags::settle(named, sample.value("migratetype"))))
    }
}

/// One sample's data.
struct Sample<'s> {
    format: &'s PerfEventFormat,
    data: &'s [u8],
    reader: PerfByteReader,
}

impl Sample<'_> {
    /// The data repeats the event's number: a sample whose id was damaged is noticed.
    fn check_type(&self) -> Result<(), PerfDataFault> {
        let expected = self.format.id();
        let found = self.value("common_type").ok_or(PerfDataFault::Sample)?;
        if found == u64::from(expected) {
            return Ok(());
        }
        Err(PerfDataFault::OtherType { event: self.event(), expected, found })
    }

    fn run(&self, pfn: u64) -> Result<Run, EventFault> {
        let order = self.order()?;
        Run::new(pfn, order).ok_or_else(|| EventFault::PfnTooHigh {
            event: self.event(),
            value: format!("{pfn:#x}"),
            order: order.get(),
        })
    }

    /// The order, which an event that acts must have.
    fn order(&self) -> Result<Order, EventFault> {
        self.checked("order", self.required("order")?)
    }

    /// Every order of an event that does not act.
    fn orders(&self) -> Result<(), EventFault> {
        let names = self.format.fields().iter().map(PerfFieldFormat::name);
        for name in names.filter(|name| *name == "order" || name.ends_with("_order")) {
            if let Some(order) = self.value(name) {
                self.checked(name, order)?;
            }
        }
        Ok(())
    }

    fn checked(&self, field: &str, value: u64) -> Result<Order, EventFault> {
        let order = u8::try_from(value).ok().and_then(Order::new);
        order.ok_or_else(|| EventFault::Order {
            event: self.event(),
            field: field.to_owned(),
            value: value.to_string(),
        })
    }

    fn required(&self, field: &'static str) -> Result<u64, EventFault> {
        self.value(field).ok_or_else(|| EventFault::Missing { event: self.event(), field })
    }

    /// The frame number of a failed allocation: all bits set.
    fn nowhere(&self) -> u64 {
        let size = self.field("pfn").map_or(0, PerfFieldFormat::size);
        if size == 4 { u64::from(u32::MAX) } else { u64::MAX }
    }

    /// A field that is one number, if the event has it and the data reaches that far.
    fn value(&self, name: &str) -> Option<u64> {
        let field = self.field(name)?;
        let bytes = field.get_field_bytes(self.data, self.reader)?;
        match bytes.len() {
            1 => Some(u64::from(bytes[0])),
            2 => Some(u64::from(self.reader.read_u16(bytes))),
            4 => Some(u64::from(self.reader.read_u32(bytes))),
            8 => Some(self.reader.read_u64(bytes)),
            _ => None,
        }
    }

    fn field(&self, name: &str) -> Option<&PerfFieldFormat> {
        let mut fields = self.format.fields().iter();
        fields.find(|field| field.name() == name && field.array() == PerfFieldArray::None)
    }

    fn event(&self) -> String {
        self.format.name().to_owned()
    }
}
