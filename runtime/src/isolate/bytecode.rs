//! The raw side of the engine: bytecode, made in a compile process, read in a connector zygote, evaluated in a call
//! process; and the heap that an isolate lives in.
//!
//! The engine doesn't verify bytecode, so what reaches [`load`] must come from [`write`], run by a jailed process of this
//! very binary: packages never carry any, and a cached one is authenticated first. A compile process that was taken over
//! could still send what it likes; it would gain the jail of its own connector, which it had to begin with.
#![allow(unsafe_code)]

use std::cell::{Cell, OnceCell};
use std::ffi::{CStr, c_void};
use std::rc::Rc;
use std::{ptr, slice};

use rquickjs::allocator::Allocator;
use rquickjs::{Ctx, Error, FromJs, Object, Result, Value, qjs};

/// The name that the engine knows the connector's code by.
pub(super) const FILE_NAME: &CStr = c"connector";

/// The version that the engine gives of itself.
pub(super) fn engine_version() -> String {
    // SAFETY: takes nothing and changes nothing.
    let version = unsafe { qjs::JS_GetVersion() };
    // SAFETY: the engine returns a constant, NUL-terminated string.
    unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned()
}

/// Compiles source text to bytecode, without its source but with its line table. The context needs the `Eval` intrinsic.
pub(super) fn write(ctx: &Ctx<'_>, source: &str, file_name: &CStr, module: bool) -> Result<Vec<u8>> {
    let source = std::ffi::CString::new(source)?;
    let kind = if module { qjs::JS_EVAL_TYPE_MODULE } else { qjs::JS_EVAL_TYPE_GLOBAL };
    let flags = (kind | qjs::JS_EVAL_FLAG_COMPILE_ONLY).cast_signed();
    // SAFETY: the context is alive for as long as `ctx`; source and name are NUL-terminated and outlive the call.
    let compiled = unsafe {
        let (text, len) = (source.as_ptr(), source.as_bytes().len());
        qjs::JS_Eval(ctx.as_raw().as_ptr(), text, len as _, file_name.as_ptr(), flags)
    };
    let compiled = checked(ctx, compiled)?;
    let mut len = 0;
    let flags = (qjs::JS_WRITE_OBJ_BYTECODE | qjs::JS_WRITE_OBJ_STRIP_SOURCE).cast_signed();
    // SAFETY: `compiled` owns a compiled function or module of this context; the engine only reads it.
    let bytes = unsafe { qjs::JS_WriteObject(ctx.as_raw().as_ptr(), &raw mut len, compiled.as_raw(), flags) };
    if bytes.is_null() {
        return Err(Error::Exception);
    }
    // SAFETY: on success the engine returns `len` initialised bytes, ours until they are freed below.
    let copy = unsafe { slice::from_raw_parts(bytes, usize::try_from(len).unwrap_or(0)) }.to_vec();
    // SAFETY: `bytes` came from this context's allocator and isn't used again.
    unsafe { qjs::js_free(ctx.as_raw().as_ptr(), bytes.cast()) };
    Ok(copy)
}

/// Reads bytecode that [`write`] made (see the module's words on trust): a script's function, or a module. Nothing of it
/// is evaluated.
pub(super) fn load<'js>(ctx: &Ctx<'js>, bytecode: &[u8]) -> Result<Value<'js>> {
    let flags = qjs::JS_READ_OBJ_BYTECODE.cast_signed();
    // SAFETY: the bytes come from `write` in a process of this binary, and outlive the call.
    let code =
        unsafe { qjs::JS_ReadObject(ctx.as_raw().as_ptr(), bytecode.as_ptr(), bytecode.len() as _, flags) };
    checked(ctx, code)
}

/// Evaluates what [`load`] read: a script's completion value, or the promise of a module's evaluation.
pub(super) fn evaluate<'js>(ctx: &Ctx<'js>, code: &Value<'js>) -> Result<Value<'js>> {
    // SAFETY: `code` is a value of this context; its count of references goes up by one.
    let owned = unsafe { qjs::JS_DupValue(ctx.as_raw().as_ptr(), code.as_raw()) };
    // SAFETY: a compiled function or module of this context; the engine frees the reference made above.
    let completion = unsafe { qjs::JS_EvalFunction(ctx.as_raw().as_ptr(), owned) };
    checked(ctx, completion)
}

/// The namespace of a module that has been evaluated.
pub(super) fn namespace<'js>(ctx: &Ctx<'js>, module: &Value<'js>) -> Result<Object<'js>> {
    // SAFETY: only reads the value's tag.
    if unsafe { qjs::JS_VALUE_GET_TAG(module.as_raw()) } != qjs::JS_TAG_MODULE {
        return Err(Error::Unknown);
    }
    // SAFETY: a value of this tag holds a pointer.
    let definition = unsafe { qjs::JS_VALUE_GET_PTR(module.as_raw()) }.cast();
    // SAFETY: it points to a module definition of this context, which `module` keeps alive.
    let namespace = unsafe { qjs::JS_GetModuleNamespace(ctx.as_raw().as_ptr(), definition) };
    Object::from_js(ctx, checked(ctx, namespace)?)
}

/// Takes ownership of a raw value, or of the exception that stands in for it.
fn checked<'js>(ctx: &Ctx<'js>, raw: qjs::JSValue) -> Result<Value<'js>> {
    // SAFETY: only reads the value's tag.
    if unsafe { qjs::JS_IsException(raw) } {
        return Err(Error::Exception);
    }
    // SAFETY: the engine hands over one reference to `raw`, a value of this context.
    Ok(unsafe { Value::from_raw(ctx.clone(), raw) })
}

/// An isolate's heap: the C library's, counted against a limit.
///
/// The engine has such a limit of its own, but all that comes of passing it is an exception: one that code can catch, and that
/// not every path of the engine survives. Here a call ends with the first refusal.
#[derive(Clone, Default)]
pub(super) struct Heap(Rc<HeapState>);

#[derive(Default)]
struct HeapState {
    used: Cell<usize>,
    /// Bytes; 0 is no limit.
    limit: Cell<usize>,
    exceeded: Cell<bool>,
    /// Ends the call; where there is none to end, the engine gets its null pointer.
    end: OnceCell<Box<dyn Fn()>>,
}

impl Heap {
    /// Refuses memory past this many bytes from here on.
    pub(super) fn set_limit(&self, limit: usize) {
        self.0.limit.set(limit);
    }

    /// Calls `end`, which is not to return, when memory is refused.
    pub(super) fn end_with(&self, end: impl Fn() + 'static) {
        // Set once, in the one call that a process makes.
        let _ = self.0.end.set(Box::new(end));
    }

    /// Whether memory was ever refused.
    pub(super) fn was_exceeded(&self) -> bool {
        self.0.exceeded.get()
    }

    fn allows(&self, more: usize) -> bool {
        let HeapState { used, limit, exceeded, end } = &*self.0;
        let allowed = limit.get() == 0 || used.get().saturating_add(more) <= limit.get();
        if !allowed {
            exceeded.set(true);
            if let Some(end) = end.get() {
                end();
            }
        }
        allowed
    }

    /// Counts a block that the C library has given; none where it had none to give.
    fn count(&self, block: *mut c_void) -> *mut u8 {
        if !block.is_null() {
            self.0.used.set(self.0.used.get() + usable(block));
        }
        block.cast()
    }

    fn uncount(&self, size: usize) {
        self.0.used.set(self.0.used.get().saturating_sub(size));
    }
}

fn usable(block: *mut c_void) -> usize {
    // SAFETY: every block here came from the C library's allocator and has not been freed.
    unsafe { libc::malloc_usable_size(block) }
}

// SAFETY: the C library's functions do what the trait asks for; a refusal is a null pointer, as theirs is.
unsafe impl Allocator for Heap {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        if !self.allows(size) {
            return ptr::null_mut();
        }
        // SAFETY: any size may be asked for.
        self.count(unsafe { libc::malloc(size) })
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        if !self.allows(count.saturating_mul(size)) {
            return ptr::null_mut();
        }
        // SAFETY: any count and size may be asked for; a product that overflows is refused.
        self.count(unsafe { libc::calloc(count, size) })
    }

    // SAFETY: as the trait asks: the block came from this allocator, or is null, and isn't used again.
    unsafe fn dealloc(&mut self, block: *mut u8) {
        if !block.is_null() {
            self.uncount(usable(block.cast()));
            // SAFETY: the caller's promise: the block came from this allocator and isn't used again.
            unsafe { libc::free(block.cast()) };
        }
    }

    // SAFETY: as the trait asks: the block came from this allocator, or is null.
    unsafe fn realloc(&mut self, block: *mut u8, new_size: usize) -> *mut u8 {
        let old_size = if block.is_null() { 0 } else { usable(block.cast()) };
        if !self.allows(new_size.saturating_sub(old_size)) {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promise: the block came from this allocator.
        let moved = unsafe { libc::realloc(block.cast(), new_size) };
        if !moved.is_null() {
            self.uncount(old_size);
        }
        self.count(moved)
    }

    // SAFETY: as the trait asks: the block came from this allocator.
    unsafe fn usable_size(block: *mut u8) -> usize {
        usable(block.cast())
    }
}
