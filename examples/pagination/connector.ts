const API = "https://api.tickets.example/v1";
// The most that the API returns in one page.
const PAGE_SIZE = 100;
// A call may make 50 requests. Stopping well before that with what there is beats failing with nothing.
const MAX_PAGES = 20;

interface Ticket {
  id: string;
  subject: string;
  status: "open" | "pending" | "solved";
  updated_at: string;
}

interface TicketPage {
  tickets: Ticket[];
  next_cursor: string | null;
}

interface ListTicketsParams {
  status: Ticket["status"] | "any";
  updated_since?: string;
  limit: number;
  cursor?: string;
}

interface AddCommentParams {
  ticket_id: string;
  text: string;
  public: boolean;
}

// An error that the API answered with. The message says what to do about it: it is all that a caller sees.
class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

const connector: Connector = {
  testConnection(ctx) {
    const user = request(ctx, "GET", "/me") as { email: string };
    return { success: true, message: `Connected as ${user.email}` };
  },

  execute(ctx) {
    switch (ctx.operation) {
      case "list_tickets":
        return listTickets(ctx, ctx.params);
      case "get_ticket":
        return getTicket(ctx, ctx.params.ticket_id);
      case "add_comment":
        return addComment(ctx, ctx.params);
      default:
        throw new Error(`The operation "${ctx.operation}" is in config.json, but not in connector.ts`);
    }
  },
};

// Follows the API's cursors until there are enough tickets, no more tickets, or too many pages.
function listTickets(ctx: TestContext, params: ListTicketsParams) {
  const tickets: Ticket[] = [];
  let cursor: string | null = params.cursor ?? null;
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const query = queryString({
      status: params.status === "any" ? undefined : params.status,
      updated_since: params.updated_since,
      // Asking for no more than is wanted keeps next_cursor right behind the last ticket returned.
      limit: Math.min(PAGE_SIZE, params.limit - tickets.length),
      cursor,
    });
    const answer = request(ctx, "GET", `/tickets${query}`) as TicketPage;
    tickets.push(...answer.tickets);
    console.debug(`page ${page + 1}: ${answer.tickets.length} tickets`);

    cursor = answer.next_cursor;
    if (cursor === null || tickets.length >= params.limit) {
      break;
    }
  }
  return { tickets, count: tickets.length, next_cursor: cursor };
}

function getTicket(ctx: TestContext, ticketId: string) {
  return request(ctx, "GET", `/tickets/${encodeURIComponent(ticketId)}`);
}

function addComment(ctx: TestContext, params: AddCommentParams) {
  const body = { text: params.text, public: params.public };
  return request(ctx, "POST", `/tickets/${encodeURIComponent(params.ticket_id)}/comments`, body);
}

// The only place that talks to the API: every request carries the token, and every answer that isn't a success
// becomes an error that says what to do.
function request(ctx: TestContext, method: "GET" | "POST", path: string, body?: unknown): unknown {
  const token = ctx.secrets.get("apiToken");
  if (!token) {
    throw new Error('The connection has no "apiToken": create one under Settings → API tokens and connect again');
  }
  const headers = { Authorization: `Bearer ${token}`, Accept: "application/json" };
  const url = API + path;
  const response =
    method === "GET" ? ctx.http.get(url, { headers }) : ctx.http.post(url, { headers, body: JSON.stringify(body) });
  if (response.status < 200 || response.status > 299) {
    throw apiError(response, `${method} ${path}`);
  }
  return response.json();
}

function apiError(response: HttpResponse, what: string): ApiError {
  const { status } = response;
  const said = upstreamMessage(response);
  switch (status) {
    case 401:
      return new ApiError(status, `The token was refused (${said}): create a new one under Settings → API tokens`);
    case 403:
      return new ApiError(status, `The token may not do this (${said}): give it the scopes that the setup guide lists`);
    case 404:
      return new ApiError(status, `${what}: not found. Ids come from list_tickets`);
    case 429:
      // There are no timers to wait with: say when to come back, and let the caller decide.
      return new ApiError(status, `The API's rate limit is reached: try again ${retryTime(response)}`);
    default: {
      const advice = status >= 500 ? "the service has a problem; try again later" : "check the parameters";
      return new ApiError(status, `${what} failed with ${status} ${response.statusText} (${said}): ${advice}`);
    }
  }
}

// The API reports errors as {"error": {"message", "fields"?: {name: reason}}}; a proxy in front of it sends HTML.
function upstreamMessage(response: HttpResponse): string {
  const error = response.body?.error;
  if (typeof error?.message !== "string") {
    return response.text().slice(0, 200) || "no explanation";
  }
  const fields = Object.entries(error.fields ?? {}).map(([name, reason]) => `${name}: ${reason}`);
  return [error.message, ...fields].join("; ");
}

// Retry-After holds either a number of seconds or a date. Header names are lower-case.
function retryTime(response: HttpResponse): string {
  const value = response.headers["retry-after"];
  if (value === undefined) {
    return "in a minute";
  }
  const seconds = /^\d+$/.test(value) ? Number(value) : Math.ceil((Date.parse(value) - Date.now()) / 1000);
  return Number.isNaN(seconds) ? "in a minute" : `in ${Math.max(1, seconds)} s`;
}

// There is no URLSearchParams in the sandbox; this is all that a query needs.
function queryString(values: Record<string, string | number | null | undefined>): string {
  const pairs = Object.entries(values)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(String(value))}`);
  return pairs.length === 0 ? "" : `?${pairs.join("&")}`;
}
