//! Bytecode: made in a compile process, read in a connector zygote, evaluated in a call process; the raw calls that
//! rquickjs doesn't wrap.
//!
//! The engine doesn't verify bytecode, so what reaches [`load`] must come from [`write`], run by a jailed process of this
//! very binary: packages never carry any, and a cached one is authenticated first. A compile process that was taken over
//! could still send what it likes; it would gain the jail of its own connector, which it had to begin with.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::slice;

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
    let bytes =
        unsafe { qjs::JS_WriteObject(ctx.as_raw().as_ptr(), &raw mut len, compiled.as_raw(), flags) };
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
    let code = unsafe {
        qjs::JS_ReadObject(ctx.as_raw().as_ptr(), bytecode.as_ptr(), bytecode.len() as _, flags)
    };
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

/// Sets the heap's limit, in bytes, from within the context, where [`rquickjs::Runtime`] is locked.
pub(super) fn set_memory_limit(ctx: &Ctx<'_>, limit: usize) {
    // SAFETY: only reads the context's runtime, which outlives it.
    let runtime = unsafe { qjs::JS_GetRuntime(ctx.as_raw().as_ptr()) };
    // SAFETY: only sets a number of the runtime, on the one thread that there is.
    unsafe { qjs::JS_SetMemoryLimit(runtime, limit as _) };
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
