interface SearchParams {
  query: string;
  limit: number;
}

interface UpdateParams {
  page_id: number;
  revision: number;
  text: string;
}

interface WikiPage {
  id: number;
  title: string;
  revision: number;
  text: string;
}

// Two top-level functions are a connector too: there is no need for an object around them.
function testConnection(ctx: TestContext) {
  const response = ctx.http.get(`${apiUrl(ctx)}/whoami`, { headers: apiHeaders(ctx) });
  expectSuccess(response, "logging in");
  return { success: true, message: `Connected as ${response.body.name}` };
}

function execute(ctx: ConnectorContext) {
  switch (ctx.operation) {
    case "search_pages":
      return searchPages(ctx, ctx.params);
    case "get_page":
      return getPage(ctx, ctx.params.page_id);
    case "update_page":
      return updatePage(ctx, ctx.params);
    default:
      throw new Error(`The operation "${ctx.operation}" is in config.json, but not in connector.ts`);
  }
}

function searchPages(ctx: TestContext, { query, limit }: SearchParams) {
  const url = `${apiUrl(ctx)}/pages?q=${encodeURIComponent(query)}&limit=${limit}`;
  const response = ctx.http.get(url, { headers: apiHeaders(ctx) });
  expectSuccess(response, "searching");
  const pages = response.body.pages as WikiPage[];
  // Titles are enough to choose by: whole texts would only fill up the context of the model that asked.
  return { pages: pages.map(({ id, title }) => ({ id, title })) };
}

function getPage(ctx: TestContext, pageId: number): WikiPage {
  const response = ctx.http.get(`${apiUrl(ctx)}/pages/${pageId}`, { headers: apiHeaders(ctx) });
  expectSuccess(response, `reading page ${pageId}`);
  return response.body;
}

function updatePage(ctx: TestContext, { page_id, revision, text }: UpdateParams) {
  const response = ctx.http.put(`${apiUrl(ctx)}/pages/${page_id}`, {
    headers: { ...apiHeaders(ctx), "If-Match": `"${revision}"` },
    body: JSON.stringify({ text }),
  });
  if (response.status === 412) {
    throw new Error(`Page ${page_id} changed since revision ${revision}: get it again and redo the change`);
  }
  expectSuccess(response, `updating page ${page_id}`);
  return { page_id, revision: response.body.revision };
}

// Where the service is differs from connection to connection: `domain` is a setting of the connection, and fills
// {{domain}} in allowedHosts as well, so that this code reaches the connection's own wiki and nothing else.
function apiUrl(ctx: TestContext): string {
  const domain = ctx.secrets.get("domain");
  if (!domain) {
    throw new Error('The connection has no "domain": set it to the host name of the wiki, such as wiki.example.org');
  }
  return `https://${domain}/api/v1`;
}

// Basic authentication (RFC 7617): the user's name and password, joined by a colon, in base64.
function apiHeaders(ctx: TestContext): Record<string, string> {
  const username = ctx.secrets.get("username");
  const password = ctx.secrets.get("password");
  if (!username || !password) {
    throw new Error('The connection needs a "username" and a "password": create an app password and connect again');
  }
  return { Authorization: `Basic ${ctx.base64Encode(`${username}:${password}`)}`, Accept: "application/json" };
}

function expectSuccess(response: HttpResponse, doing: string) {
  if (response.status >= 200 && response.status <= 299) {
    return;
  }
  switch (response.status) {
    case 401:
      throw new Error("The wiki refused the user name or password: create a new app password and connect again");
    case 403:
      throw new Error(`The wiki doesn't let this user go on with ${doing}: ask its administrator for the right`);
    case 404:
      throw new Error(`The wiki found nothing when ${doing}: ids come from search_pages`);
    default:
      throw new Error(`The wiki answered ${response.status} when ${doing}: ${response.text().slice(0, 200)}`);
  }
}
