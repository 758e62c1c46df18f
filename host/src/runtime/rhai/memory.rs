//! A bound on what a script's variables hold together.
//!
//! The engine's own limits look at a value when it is returned or a method is called on it, but not
//! when an entry is assigned to (`map[key] = value`), so that a loop of such assignments would take
//! all the memory there is. Here everything in scope is weighed now and then, whenever enough
//! variables have been read for it to have grown by a fraction.

use std::sync::atomic::{AtomicUsize, Ordering};

use rhai::{Dynamic, Engine, EvalAltResult, EvalContext, Position};

use super::errors::ended;
use crate::runtime::Sandbox;

/// Variables read between two looks, at least. A value of the largest size in each of them is what
/// can be held beyond the bound.
const READS: usize = 16;
/// One look costs as many steps as there are elements, so it is made once every so many reads for
/// each of them: the looks take a fixed share of the time, however much there is.
const ELEMENTS_PER_READ: usize = 8;
/// Elements and entries in them.
const ELEMENTS: usize = 200_000;
/// Arrays and maps inside one another. Whoever walks through them, also to free them, goes as deep
/// into its stack.
const DEPTH: usize = 256;
/// An element of an array, and an entry of a map beside its key, bytes.
const ELEMENT: usize = 16;
const ENTRY: usize = 64;

/// Bounds what the variables of one function may hold, roughly.
pub(super) fn bound(engine: &mut Engine, sandbox: Sandbox) {
    let until_look = AtomicUsize::new(READS);
    #[expect(
        deprecated,
        reason = "not deprecated, says its documentation, but volatile"
    )]
    engine.on_var(move |_name, _index, context| {
        if until_look.fetch_sub(1, Ordering::Relaxed) > 1 {
            return Ok(None);
        }
        let held = weigh(&context);
        if held.bytes > sandbox.memory_bytes {
            return Err(ended(sandbox.out_of_memory()));
        }
        if held.elements > ELEMENTS {
            return Err(too_large(format!(
                "the variables together, over {ELEMENTS} elements"
            )));
        }
        if held.too_deep {
            return Err(too_large(format!("arrays and maps more than {DEPTH} deep")));
        }
        until_look.store(
            READS.max(held.elements / ELEMENTS_PER_READ),
            Ordering::Relaxed,
        );
        Ok(None)
    });
}

fn too_large(what: String) -> Box<EvalAltResult> {
    EvalAltResult::ErrorDataTooLarge(what, Position::NONE).into()
}

#[derive(Default)]
struct Held {
    elements: usize,
    bytes: usize,
    too_deep: bool,
}

fn weigh(context: &EvalContext<'_, '_, '_, '_, '_, '_>) -> Held {
    let mut held = Held::default();
    let variables = context.scope().iter_raw().map(|(_, _, value)| value);
    for value in variables.chain(context.this_ptr()) {
        held.add(value, DEPTH);
    }
    held
}

impl Held {
    fn add(&mut self, value: &Dynamic, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else {
            self.too_deep = true;
            return;
        };
        self.elements += 1;
        self.bytes += ELEMENT;
        if let Ok(text) = value.as_immutable_string_ref() {
            self.bytes += text.len();
        } else if let Ok(values) = value.as_array_ref() {
            values.iter().for_each(|value| self.add(value, depth));
        } else if let Ok(fields) = value.as_map_ref() {
            for (name, value) in fields.iter() {
                self.bytes += ENTRY + name.len();
                self.add(value, depth);
            }
        } else if let Ok(bytes) = value.as_blob_ref() {
            self.bytes += bytes.len();
        }
    }
}
