const API = "https://archive.documents.example/api";

interface ArchivedDocument {
  id: string;
  title: string;
  file_name: string;
  bytes: number;
}

interface DownloadParams {
  document_id: string;
  file_name?: string;
}

interface UploadParams {
  title: string;
  file_name: string;
  content_type: string;
  text?: string;
  content_base64?: string;
  tags: string[];
}

const connector: Connector = {
  testConnection(ctx) {
    const response = ctx.http.get(`${API}/account`, { headers: apiHeaders(ctx) });
    expectSuccess(response, "reading the account");
    return { success: true, message: `Connected to ${response.body.name}` };
  },

  execute(ctx) {
    switch (ctx.operation) {
      case "download_document":
        return downloadDocument(ctx, ctx.params);
      case "export_index":
        return exportIndex(ctx);
      case "upload_document":
        return uploadDocument(ctx, ctx.params);
      default:
        throw new Error(`The operation "${ctx.operation}" is in config.json, but not in connector.ts`);
    }
  },
};

// The bytes go from the archive straight to the storage, never through this code: a file may be far larger than the
// memory that a call has.
function downloadDocument(ctx: TestContext, params: DownloadParams) {
  if (!ctx.files) {
    throw new Error("No file storage is configured: run with --files DIR, or ask the operator to configure one");
  }
  const fileName = params.file_name ?? describeDocument(ctx, params.document_id).file_name;
  return ctx.files.download(`${documentUrl(params.document_id)}/content`, { headers: apiHeaders(ctx), fileName });
}

// `ctx.files` is optional. A small result can be returned as it is where there is no storage.
function exportIndex(ctx: TestContext) {
  const response = ctx.http.get(`${API}/documents`, { headers: apiHeaders(ctx) });
  expectSuccess(response, "listing the documents");
  const documents = response.body.documents as ArchivedDocument[];

  const rows = [["id", "title", "file_name", "bytes"]];
  for (const { id, title, file_name, bytes } of documents) {
    rows.push([id, title, file_name, String(bytes)]);
  }
  const csv = rows.map((row) => row.map(csvField).join(",") + "\r\n").join("");

  if (!ctx.files) {
    return { count: documents.length, csv };
  }
  const file = ctx.files.store(csv, { encoding: "utf-8", contentType: "text/csv", fileName: "documents.csv" });
  return { count: documents.length, file };
}

// A multipart/form-data request: two text fields, and a file that is text or, with `isBase64`, bytes.
function uploadDocument(ctx: TestContext, params: UploadParams) {
  const content =
    params.content_base64 === undefined
      ? { value: params.text ?? "", isBase64: false }
      : { value: params.content_base64, isBase64: true };
  const response = ctx.http.post(`${API}/documents`, {
    // No Content-Type here: the boundary that belongs into it is chosen when the request is sent.
    headers: apiHeaders(ctx),
    formFields: [
      { name: "title", value: params.title },
      { name: "tags", value: JSON.stringify(params.tags), contentType: "application/json" },
      { name: "file", fileName: params.file_name, contentType: params.content_type, ...content },
    ],
  });
  expectSuccess(response, `uploading ${params.file_name}`);
  return response.body;
}

function describeDocument(ctx: TestContext, documentId: string): ArchivedDocument {
  const response = ctx.http.get(documentUrl(documentId), { headers: apiHeaders(ctx) });
  expectSuccess(response, `reading the document ${documentId}`);
  return response.body;
}

function documentUrl(documentId: string): string {
  return `${API}/documents/${encodeURIComponent(documentId)}`;
}

function apiHeaders(ctx: TestContext): Record<string, string> {
  const key = ctx.secrets.get("apiKey");
  if (!key) {
    throw new Error('The connection has no "apiKey": copy it from Account → API key and connect again');
  }
  return { "X-Api-Key": key, Accept: "application/json" };
}

function expectSuccess(response: HttpResponse, doing: string) {
  if (response.status >= 200 && response.status <= 299) {
    return;
  }
  if (response.status === 401) {
    throw new Error("The API key was refused: copy the current one from Account → API key");
  }
  const explanation = response.text().slice(0, 200) || response.statusText;
  throw new Error(`The archive answered ${response.status} when ${doing}: ${explanation}`);
}

// RFC 4180: a field with a comma, a quote or a line break stands in quotes, and its quotes are doubled.
function csvField(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
