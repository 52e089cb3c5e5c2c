// The script side of `ctx`: evaluated once per connector zygote, before any code of the connector's.
//
// It closes over the engine's own functions, so that what a connector does to its globals changes nothing here. It is
// a convenience and no boundary: what a call may do is decided outside its process.
(function (native) {
  'use strict';

  const { parse, stringify } = JSON;
  const { defineProperty, getPrototypeOf } = Object;
  const { isArray } = Array;
  const resolve = Promise.resolve.bind(Promise);
  const functionCall = Function.prototype.call;
  const bind = functionCall.bind(Function.prototype.bind);
  const callable = (method) => bind(functionCall, method);
  const toWellFormed = callable(String.prototype.toWellFormed);
  const slice = callable(String.prototype.slice);
  const toLowerCase = callable(String.prototype.toLowerCase);
  const startsWith = callable(String.prototype.startsWith);
  const join = callable(Array.prototype.join);
  const keysOf = Object.keys;
  const ErrorOf = Error;
  const ErrorPrototype = Error.prototype;
  const TypeErrorOf = TypeError;
  const RangeErrorOf = RangeError;
  const InternalErrorOf = globalThis.InternalError ?? RangeError;
  const StringOf = String;

  // What the engine has beyond ECMAScript, and the ways to make code from text.
  for (const name of ['eval', 'queueMicrotask', 'performance', 'navigator', 'gc', 'DOMException', 'InternalError']) {
    delete globalThis[name];
  }

  const text = (value) => toWellFormed(StringOf(value));

  // Longer messages and stacks are of no use to anyone who reads them.
  const MAX_ERROR_LENGTH = 65536;
  const errorText = (value) => text(slice(StringOf(value), 0, MAX_ERROR_LENGTH));

  // Array elements are defined, not assigned: an accessor on Array.prototype must not see them.
  const append = (array, value) =>
    defineProperty(array, array.length, { value, writable: true, enumerable: true, configurable: true });

  const set = (object, key, value) =>
    defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });

  // ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────

  const heading = (error) => {
    try {
      const name = StringOf(error.name ?? 'Error');
      const message = StringOf(error.message ?? '');
      return message === '' ? name : name + ': ' + message;
    } catch {
      return 'Error';
    }
  };

  const place = (site) => {
    const file = site.getFileName();
    if (file !== 'connector') return undefined;
    const name = site.getFunctionName();
    const position = native.position(site.getLineNumber() ?? 0, site.getColumnNumber() ?? 0);
    return name ? '    at ' + name + ' (' + position + ')' : '    at ' + position;
  };

  Error.prepareStackTrace = (error, sites) => {
    let stack = heading(error);
    for (let i = 0; i < sites.length; i++) {
      const line = place(sites[i]);
      if (line !== undefined) stack += '\n' + line;
    }
    return stack;
  };
  // The hook stays in force without its property; no connector sees positions of generated code.
  delete Error.prepareStackTrace;

  const MAX_CAUSES = 5;

  // A class that names itself after `super(message)` has a stack that is headed `Error: message` still.
  const renamed = (stack, error) => {
    const head = heading(error);
    const name = StringOf(error.name ?? 'Error');
    const unnamed = 'Error' + slice(head, name.length);
    return name !== 'Error' && startsWith(stack + '\n', unnamed + '\n') ? head + slice(stack, unnamed.length) : stack;
  };

  const stackOf = (error) => (typeof error.stack === 'string' ? renamed(error.stack, error) : heading(error));

  const stackWithCauses = (error) => {
    let stack = stackOf(error);
    let { cause } = error;
    for (let n = 0; n < MAX_CAUSES && cause instanceof ErrorOf; n++) {
      stack += '\nCaused by: ' + stackOf(cause);
      cause = cause.cause;
    }
    return stack;
  };

  const messageOf = (thrown) => {
    if (typeof thrown === 'string') return thrown;
    if (thrown instanceof ErrorOf) {
      const message = StringOf(thrown.message);
      return message === '' ? StringOf(thrown.name) : message;
    }
    if (typeof thrown === 'object' && thrown !== null && typeof thrown.message === 'string') return thrown.message;
    if (typeof thrown === 'object' && thrown !== null) return stringify(thrown) ?? StringOf(thrown);
    return StringOf(thrown);
  };

  const stackSaid = (thrown) => {
    try {
      return thrown instanceof ErrorOf ? errorText(stackWithCauses(thrown)) : undefined;
    } catch {
      return undefined;
    }
  };

  // What is said of a thrown value: [kind, message, stack?].
  const describe = (thrown) => {
    try {
      let kind = 'thrown';
      if (thrown instanceof InternalErrorOf && slice(StringOf(thrown.message), 0, 13) === 'out of memory') kind = 'memory';
      else if (thrown instanceof RangeErrorOf && thrown.message === 'Maximum call stack size exceeded') kind = 'stack';
      return [kind, errorText(messageOf(thrown)), stackSaid(thrown)];
    } catch {
      return ['thrown', 'the connector threw a value that can\'t be described', undefined];
    }
  };

  // ── console ─────────────────────────────────────────────────────────────────────────────────────────────────────

  const show = (value) => {
    if (typeof value === 'string') return value;
    if (value instanceof ErrorOf) return stackWithCauses(value);
    if (typeof value === 'bigint') return StringOf(value) + 'n';
    if (typeof value === 'object' && value !== null) {
      try {
        return stringify(value) ?? StringOf(value);
      } catch {
        return '[object that can\'t be shown]';
      }
    }
    return StringOf(value);
  };

  const logger = (level) => (...values) => {
    const shown = [];
    for (let i = 0; i < values.length; i++) append(shown, show(values[i]));
    native.log(level, text(join(shown, ' ')));
  };

  // An Error of the host's, made anew: the engine builds the stack of its own before it knows the message.
  const asking = (ask) => (first, second) => {
    try {
      return ask(first, second);
    } catch (error) {
      // The engine's own, such as for want of stack, are of other classes.
      throw error !== null && getPrototypeOf(error) === ErrorPrototype ? new ErrorOf(error.message) : error;
    }
  };

  const askHttp = asking(native.http);
  const askDownload = asking(native.download);
  const askStore = asking(native.store);
  const askDecode = asking(native.base64Decode);

  // ── http ────────────────────────────────────────────────────────────────────────────────────────────────────────

  const optional = (value, name) => {
    if (value === undefined || value === null) return undefined;
    if (typeof value === 'string') return toWellFormed(value);
    throw new TypeErrorOf(name + ' must be a string' +
      (typeof value === 'object' ? ': use JSON.stringify for an object' : ', not a ' + typeof value));
  };

  const headerList = (headers) => {
    const list = [];
    if (headers === undefined || headers === null) return list;
    if (typeof headers !== 'object') throw new TypeErrorOf('options.headers must be an object of names and values');
    const names = keysOf(headers);
    for (let i = 0; i < names.length; i++) {
      const value = headers[names[i]];
      if (value !== undefined && value !== null) append(list, [text(names[i]), text(value)]);
    }
    return list;
  };

  const formField = (field, i) => {
    const at = 'options.formFields[' + i + ']';
    if (typeof field !== 'object' || field === null) throw new TypeErrorOf(at + ' must be an object {name, value}');
    if (field.name === undefined || field.value === undefined) throw new TypeErrorOf(at + ' needs a name and a value');
    return {
      name: text(field.name),
      value: text(field.value),
      file_name: optional(field.fileName, at + '.fileName'),
      content_type: optional(field.contentType, at + '.contentType'),
      is_base64: field.isBase64 === true,
    };
  };

  const formFields = (fields) => {
    if (fields === undefined || fields === null) return undefined;
    if (!isArray(fields)) throw new TypeErrorOf('options.formFields must be an array of {name, value}');
    const list = [];
    for (let i = 0; i < fields.length; i++) append(list, formField(fields[i], i));
    return list;
  };

  const bodyOf = (options, method) => {
    const body = {
      body: optional(options.body, 'options.body'),
      binary_body: optional(options.binaryBody, 'options.binaryBody'),
      form_fields: formFields(options.formFields),
    };
    const given = (body.body !== undefined) + (body.binary_body !== undefined) + (body.form_fields !== undefined);
    if (given > 1) throw new TypeErrorOf('give one of options.body, options.binaryBody and options.formFields, not several');
    if (given > 0 && method === 'GET') throw new TypeErrorOf('a GET request takes no body');
    return body;
  };

  const optionsOf = (options) => {
    if (options === undefined || options === null) return {};
    if (typeof options !== 'object') throw new TypeErrorOf('the options of an HTTP request must be an object');
    return options;
  };

  const isBase64Response = ({ responseType }) => {
    if (responseType === undefined || responseType === null || responseType === 'text') return false;
    if (responseType === 'base64') return true;
    throw new TypeErrorOf('options.responseType must be "base64", or absent for text and JSON');
  };

  const headersOf = (list) => {
    const headers = {};
    for (let i = 0; i < list.length; i++) set(headers, list[i][0], list[i][1]);
    return headers;
  };

  const parsed = (body) => {
    try {
      return parse(body);
    } catch {
      return body;
    }
  };

  const responseOf = (head, body) => {
    const content = head.json ? parsed(body) : body;
    return {
      status: head.status,
      statusText: head.status_text,
      headers: headersOf(head.headers),
      body: content,
      text: () => body,
      json: () => (head.json ? content : parsed(body)),
    };
  };

  const request = (method) => (url, options) => {
    if (url === undefined || url === null) throw new TypeErrorOf('ctx.http.' + toLowerCase(method) + ' needs a URL');
    const given = optionsOf(options);
    const { body, binary_body, form_fields } = bodyOf(given, method);
    const answer = askHttp(stringify({
      method,
      url: text(url),
      headers: headerList(given.headers),
      base64_response: isBase64Response(given),
      body,
      binary_body,
      form_fields,
    }));
    return responseOf(parse(answer.head), answer.body);
  };

  // ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────

  const download = (url, options) => {
    if (url === undefined || url === null) throw new TypeErrorOf('ctx.files.download needs a URL');
    const given = optionsOf(options);
    const file_name = optional(given.fileName, 'options.fileName');
    return parse(askDownload(stringify({ url: text(url), headers: headerList(given.headers), file_name })));
  };

  const store = (data, options) => {
    if (typeof data !== 'string') throw new TypeErrorOf('ctx.files.store takes the data as a string: text, or base64');
    const { encoding, contentType, fileName } = optionsOf(options);
    if (encoding !== 'base64' && encoding !== 'utf-8') {
      throw new TypeErrorOf('options.encoding must be "base64" or "utf-8"');
    }
    const head = {
      base64: encoding === 'base64',
      content_type: optional(contentType, 'options.contentType') ?? 'application/octet-stream',
      file_name: optional(fileName, 'options.fileName') ?? 'file',
    };
    return parse(askStore(stringify(head), toWellFormed(data)));
  };

  // ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────

  // The functions behind the rows of the API table (context.rs), by their names there.
  const api = {
    'console.debug': logger('debug'),
    'console.log': logger('log'),
    'console.info': logger('info'),
    'console.warn': logger('warn'),
    'console.error': logger('error'),
    'http.get': request('GET'),
    'http.post': request('POST'),
    'http.put': request('PUT'),
    'http.patch': request('PATCH'),
    'http.delete': request('DELETE'),
    'secrets.get': (key) => native.secret(text(key)),
    'base64Encode': (utf8) => native.base64Encode(text(utf8)),
    'base64Decode': (base64) => askDecode(text(base64)),
    'files.download': download,
    'files.store': store,
  };

  // The object and the two functions of a connector, from any of the shapes that code may have.
  const functionsOf = (entry) => {
    const { connector } = entry;
    const found = connector === undefined || connector === null ? entry : connector;
    return { self: found === entry ? undefined : found, execute: found.execute, testConnection: found.testConnection };
  };

  const missing = (entry) => {
    const { execute, testConnection } = functionsOf(entry);
    const lacking = [];
    if (typeof testConnection !== 'function') append(lacking, 'testConnection');
    if (typeof execute !== 'function') append(lacking, 'execute');
    return lacking.length === 0 ? undefined : join(lacking, ' and ');
  };

  const call = (entry, context) => {
    const { self, execute, testConnection } = functionsOf(entry);
    const run = callable(context.operation === undefined ? testConnection : execute);
    const value = run(self, context);
    const awaited = typeof value === 'object' && value !== null || typeof value === 'function';
    return awaited && typeof value.then === 'function' ? resolve(value) : value;
  };

  const toJson = (value) => stringify(value) ?? 'null';

  // From here on it is noted whether code looks at the clock, of which `Date` is the only hand.
  const watchClock = () => {
    let date = globalThis.Date;
    let wasRead = false;
    defineProperty(globalThis, 'Date', {
      get: () => ((wasRead = true), date),
      set: (value) => void (date = value),
      configurable: true,
    });
    return () => wasRead;
  };

  return { api, call, describe, missing, parse, toJson, set, watchClock };
})
