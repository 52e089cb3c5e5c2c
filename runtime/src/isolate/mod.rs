//! One QuickJS runtime with one connector's code in it, for one call.
//!
//! An isolate is built in a connector zygote ([`Isolate::load`]): engine, `ctx`, the code as bytecode, nothing of it
//! evaluated. A call process, forked from that, evaluates the code and calls it once ([`Isolate::run`]).

mod bytecode;
mod context;
mod error;
mod host;

use std::fs::File;
use std::rc::Rc;
use std::time::Duration;

use rquickjs::context::intrinsic;
use rquickjs::promise::PromiseState;
use rquickjs::{CatchResultExt, Context, Ctx, Function, Object, Persistent, Runtime, Value};

pub use context::connector_types;

use crate::compile::{self, Compiled, PositionMap};
use crate::package::Language;
use crate::sandbox::wire::{self, CallRequest, Failure, FailureKind};
use bytecode::Heap;
use error::{describe, failure};
use host::Host;

/// All of ECMAScript, and no way to make code from text: without `Eval`, the Function constructors throw.
type Intrinsics = (
    intrinsic::Date,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::Proxy,
    intrinsic::MapSet,
    intrinsic::TypedArrays,
    intrinsic::Promise,
    intrinsic::WeakRef,
);

/// Code that takes more processor time than this to evaluate is evaluated when its call is there.
const EARLY_CPU: Duration = Duration::from_millis(50);
/// Heap left to the wording of an error once the limit is reached, in bytes.
const HEAP_FOR_ERRORS: usize = 1024 * 1024;

/// What bytecode is stamped with: the engine's version and the code that makes and loads it. Another engine numbers its
/// instructions otherwise, another compiler places the entry elsewhere.
pub fn stamp() -> String {
    let engine = bytecode::engine_version();
    format!(
        "quickjs-ng {engine}, portcullis {} {}",
        env!("CARGO_PKG_VERSION"),
        env!("PORTCULLIS_COMPILER_STAMP")
    )
}

/// A connector as it is loaded into an isolate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What the code was written in: positions are named by its file.
    pub language: Language,
    /// Whether the bytecode is a module (else a script).
    pub module: bool,
    /// What [`compile_to_bytecode`] made.
    pub bytecode: Vec<u8>,
    /// A [`PositionMap`]'s bytes.
    pub positions: Vec<u8>,
    /// Whether the code may be evaluated before its call is there: a process that is forked ahead then does so.
    pub early: bool,
}

/// What an isolate may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IsolateLimits {
    /// Heap, in bytes.
    pub memory: u64,
    /// Stack, in bytes.
    pub stack: u64,
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
}

/// An engine with a connector's code loaded and not yet evaluated.
pub struct Isolate {
    // Declared before the context: values must be gone when the engine frees it.
    prelude: Prelude,
    /// A script's function, or a module.
    code: Persistent<Value<'static>>,
    is_module: bool,
    host: Rc<Host>,
    context: Context,
    heap: Heap,
    memory: usize,
}

/// The prelude's functions that Rust calls.
struct Prelude {
    ctx: Persistent<Object<'static>>,
    files: Persistent<Object<'static>>,
    call: Persistent<Function<'static>>,
    describe: Persistent<Function<'static>>,
    missing: Persistent<Function<'static>>,
    watch_clock: Persistent<Function<'static>>,
    parse: Persistent<Function<'static>>,
    to_json: Persistent<Function<'static>>,
}

impl Isolate {
    /// Builds the engine and loads the image into it.
    pub fn load(image: &Image, limits: IsolateLimits) -> Result<Self, String> {
        let host = Rc::new(Host::new(image, Duration::from_millis(limits.cpu_ms)));
        let prelude_code = compile_prelude()?;
        let heap = Heap::default();
        let runtime = Runtime::new_with_alloc(heap.clone()).map_err(said)?;
        runtime.set_max_stack_size(to_usize(limits.stack));
        let context = Context::custom::<Intrinsics>(&runtime).map_err(said)?;
        let (prelude, code) = context.with(|ctx| {
            let prelude = Prelude::install(&ctx, &host, &prelude_code).catch(&ctx).map_err(said)?;
            let code = bytecode::load(&ctx, &image.bytecode).catch(&ctx).map_err(said)?;
            let code = Persistent::save(&ctx, code);
            Ok::<_, String>((prelude, code))
        })?;
        runtime.run_gc();
        let memory = to_usize(limits.memory);
        // A collection writes to every object, and so copies every page of a fork: most calls end without one.
        runtime.set_gc_threshold(memory / 4);
        heap.set_limit(memory);
        let interrupt = (Rc::clone(&host), heap.clone());
        runtime.set_interrupt_handler(Some(Box::new(move || {
            let (host, heap) = &interrupt;
            host.is_out_of_cpu() || heap.was_exceeded()
        })));
        Ok(Self { prelude, code, is_module: image.module, host, context, heap, memory })
    }

    /// Goes once, in the zygote, through what every call does on Rust's side: what is touched here is present in a process that is
    /// forked ahead, and what is looked up once (the clock in the kernel's page) isn't looked up again.
    pub fn rehearse(&self) {
        let call = CallRequest {
            operation: Some("operation".to_owned()),
            params: "{}".to_owned(),
            secrets: [("key".to_owned(), "value".to_owned())].into(),
            files: true,
        };
        let frame = wire::encode(wire::Kind::Call, &call, b"");
        let read = wire::FrameReader::new().read(&mut frame.as_slice(), |_| u64::MAX);
        drop(read.and_then(|frame| frame.head::<CallRequest>()));
        drop(wire::encode(wire::Kind::Result, &(), b"{}"));
        self.host.start_cpu_clock();
        self.host.seed();
    }

    /// Waits on the socket for the call, carries it out, and answers. To be run once, in a process of its own. Where `early`,
    /// the code is evaluated before the call is there.
    pub fn run(&self, socket: File, early: bool) {
        self.host.seed();
        self.host.attach(socket);
        let host = Rc::clone(&self.host);
        self.heap.end_with(move || host.end(&failure(FailureKind::Memory, "out of memory", None)));
        self.context.with(|ctx| {
            let entry = early.then(|| self.entry(&ctx));
            let Some(call) = self.host.accept() else { return };
            let entry = entry.unwrap_or_else(|| self.entry(&ctx));
            match entry.and_then(|entry| self.execute(&ctx, entry, &call)) {
                Ok(json) => self.host.succeed(&json),
                Err(failure) => self.host.fail(&failure),
            }
        });
    }

    /// Evaluates the code and says what it lacks of a connector: the check that ends a compile. Whether the code may be
    /// evaluated early ([`Image::early`]): it comes to its end soon, and doesn't look at a clock that will have moved on when
    /// the call is there.
    pub fn inspect(&self) -> Result<bool, Failure> {
        self.context.with(|ctx| {
            let watch_clock = self.restored(&ctx, &self.prelude.watch_clock)?;
            let watch: Function<'_> = watch_clock.call(()).map_err(|error| self.failed(&ctx, error))?;
            let (entry, missing) = (self.entry(&ctx)?, self.restored(&ctx, &self.prelude.missing)?);
            let was_quick = self.host.cpu_used() <= EARLY_CPU;
            let lacking: Option<String> = missing.call((entry,)).map_err(|error| self.failed(&ctx, error))?;
            if let Some(lacking) = lacking {
                let message = format!("the code doesn't define {lacking}");
                return Err(failure(FailureKind::NotAConnector, &message, None));
            }
            let has_looked: bool = watch.call(()).map_err(|error| self.failed(&ctx, error))?;
            Ok(was_quick && !has_looked)
        })
    }

    fn execute<'js>(&self, ctx: &Ctx<'js>, entry: Value<'js>, call: &CallRequest) -> Result<String, Failure> {
        let returned = self
            .context_object(ctx, call)
            .and_then(|context| {
                self.prelude.call.clone().restore(ctx)?.call::<_, Value<'_>>((entry, context))
            })
            .map_err(|error| self.failed(ctx, error))?;
        let settled = self.settle(ctx, returned)?;
        let to_json = self.restored(ctx, &self.prelude.to_json)?;
        to_json.call::<_, String>((settled,)).map_err(|error| not_json(self.failed(ctx, error)))
    }

    /// Evaluates the code, once; its entry object.
    fn entry<'js>(&self, ctx: &Ctx<'js>) -> Result<Value<'js>, Failure> {
        self.host.start_cpu_clock();
        let failed = |error| self.failed(ctx, error);
        let code = self.code.clone().restore(ctx).map_err(failed)?;
        let completion = bytecode::evaluate(ctx, &code).map_err(failed)?;
        if !self.is_module {
            return Ok(completion);
        }
        self.settle(ctx, completion)?;
        bytecode::namespace(ctx, &code).and_then(|exports| exports.get(compile::ENTRY_EXPORT)).map_err(failed)
    }

    /// `ctx`: the prebuilt object and what is this call's own.
    fn context_object<'js>(&self, ctx: &Ctx<'js>, call: &CallRequest) -> rquickjs::Result<Object<'js>> {
        let context = self.prelude.ctx.clone().restore(ctx)?;
        if call.files {
            context.set("files", self.prelude.files.clone().restore(ctx)?)?;
        }
        if let Some(operation) = &call.operation {
            let parse = self.prelude.parse.clone().restore(ctx)?;
            context.set("operation", operation.as_str())?;
            context.set("params", parse.call::<_, Value<'js>>((call.params.as_str(),))?)?;
        }
        Ok(context)
    }

    /// The value of a promise, once the jobs that it waits for have run; other values as they are.
    fn settle<'js>(&self, ctx: &Ctx<'js>, value: Value<'js>) -> Result<Value<'js>, Failure> {
        let Some(promise) = value.as_promise().cloned() else { return Ok(value) };
        while promise.state() == PromiseState::Pending {
            let has_run = ctx.execute_pending_job();
            if let Some(used_up) = self.used_up() {
                return Err(used_up);
            }
            if !has_run {
                return Err(failure(
                    FailureKind::NeverSettles,
                    "the promise that the connector returned can never settle: nothing is left to run that could settle it",
                    None,
                ));
            }
        }
        match promise.result::<Value<'js>>() {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(self.failed(ctx, error)),
            None => Ok(Value::new_undefined(ctx.clone())),
        }
    }

    fn restored<'js>(
        &self,
        ctx: &Ctx<'js>,
        function: &Persistent<Function<'static>>,
    ) -> Result<Function<'js>, Failure> {
        function.clone().restore(ctx).map_err(|error| self.failed(ctx, error))
    }

    fn failed(&self, ctx: &Ctx<'_>, error: rquickjs::Error) -> Failure {
        if let Some(used_up) = self.used_up() {
            return used_up;
        }
        self.heap.set_limit(self.memory + HEAP_FOR_ERRORS);
        let described = match self.prelude.describe.clone().restore(ctx) {
            Ok(function) => describe(ctx, &function, error),
            Err(error) => failure(FailureKind::Thrown, &error.to_string(), None),
        };
        // To describe what was thrown may take code of the connector's: a getter that loops.
        self.used_up().unwrap_or(described)
    }

    /// The limit that the code has passed, where it has.
    fn used_up(&self) -> Option<Failure> {
        if self.host.was_out_of_cpu() {
            Some(failure(FailureKind::Cpu, "out of CPU time", None))
        } else if self.heap.was_exceeded() {
            Some(failure(FailureKind::Memory, "out of memory", None))
        } else {
            None
        }
    }
}

impl Prelude {
    fn install(ctx: &Ctx<'_>, host: &Rc<Host>, code: &[u8]) -> rquickjs::Result<Self> {
        let script = bytecode::load(ctx, code)?;
        let make: Function<'_> = bytecode::evaluate(ctx, &script)?.get()?;
        let exports: Object<'_> = make.call((context::natives(ctx, host)?,))?;
        let api = context::register(ctx, &exports.get("api")?)?;
        install_random(ctx, host)?;
        let function = |name: &str| -> rquickjs::Result<Persistent<Function<'static>>> {
            Ok(Persistent::save(ctx, exports.get::<_, Function<'_>>(name)?))
        };
        Ok(Self {
            ctx: Persistent::save(ctx, api.ctx),
            files: Persistent::save(ctx, api.files),
            call: function("call")?,
            describe: function("describe")?,
            missing: function("missing")?,
            watch_clock: function("watchClock")?,
            parse: function("parse")?,
            to_json: function("toJson")?,
        })
    }
}

/// Replaces Math.random, whose state every fork would share, by one that [`Host::seed`] seeds.
fn install_random(ctx: &Ctx<'_>, host: &Rc<Host>) -> rquickjs::Result<()> {
    let host = Rc::clone(host);
    let random = Function::new(ctx.clone(), move || host.random())?.with_name("random")?;
    let math: Object<'_> = ctx.globals().get("Math")?;
    math.prop("random", rquickjs::object::Property::from(random).writable().configurable())
}

/// An engine with the bytecode loaded and nothing else: what benches compare a call with.
pub struct Plain {
    _code: Persistent<Value<'static>>,
    _context: Context,
    _runtime: Runtime,
}

impl Plain {
    /// Makes the engine and reads the image's bytecode.
    pub fn load(image: &Image) -> Result<Self, String> {
        let runtime = Runtime::new().map_err(said)?;
        let context = Context::full(&runtime).map_err(said)?;
        let code = context.with(|ctx| {
            bytecode::load(&ctx, &image.bytecode)
                .map(|code| Persistent::save(&ctx, code))
                .catch(&ctx)
                .map_err(said)
        })?;
        Ok(Self { _code: code, _context: context, _runtime: runtime })
    }
}

/// The prelude as bytecode; it is the only source text that a zygote ever compiles.
fn compile_prelude() -> Result<Vec<u8>, String> {
    let runtime = Runtime::new().map_err(said)?;
    let context = Context::full(&runtime).map_err(said)?;
    context.with(|ctx| {
        bytecode::write(&ctx, include_str!("prelude.js"), c"prelude", false).catch(&ctx).map_err(said)
    })
}

/// Compiles a script to an image; an engine's early error is said in positions of the connector's own file.
pub fn compile_to_bytecode(compiled: &Compiled, language: Language) -> Result<Image, Failure> {
    let engine = |error: &dyn std::fmt::Display| failure(FailureKind::Memory, &error.to_string(), None);
    let runtime = Runtime::new().map_err(|error| engine(&error))?;
    let context = Context::full(&runtime).map_err(|error| engine(&error))?;
    let module = compiled.kind == compile::Kind::Module;
    context.with(|ctx| {
        match bytecode::write(&ctx, &compiled.script, bytecode::FILE_NAME, module).catch(&ctx) {
            Ok(bytecode) => {
                let positions = compiled.positions.to_bytes();
                Ok(Image { language, module, bytecode, positions, early: false })
            }
            Err(rquickjs::CaughtError::Exception(exception)) => Err(failure(
                FailureKind::Thrown,
                &exception.message().unwrap_or_else(|| "the engine refused the code".to_owned()),
                exception.stack().and_then(|stack| first_position(&stack, &compiled.positions)),
            )),
            Err(error) => Err(engine(&error)),
        }
    })
}

/// The position that the engine gives a syntax error: `    at connector:LINE:COLUMN`.
fn first_position(stack: &str, positions: &PositionMap) -> Option<String> {
    let mut numbers =
        stack.lines().next()?.rsplit(':').map(|number| number.trim_end_matches(')').parse().ok());
    let (column, line) = (numbers.next()??, numbers.next()??);
    positions.lookup(line, column).map(|(line, column)| format!("{line}:{column}"))
}

/// JSON.stringify's own refusals, told from errors of the code's.
fn not_json(mut failed: Failure) -> Failure {
    let refused = ["circular", "BigInt", "bigint"].iter().any(|word| failed.message.contains(word));
    if failed.kind == FailureKind::Thrown && refused {
        failed.kind = FailureKind::NotJson;
    }
    failed
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
