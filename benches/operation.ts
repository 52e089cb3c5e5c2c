// Operation NUMBER: lists the items of one kind, page by page, with what callers filter by.
function operationNUMBER(ctx) {
  const { page = NUMBER, limit = 50, name, fetch } = ctx.params;
  const query = ['page=' + page, 'limit=' + limit];
  if (name) query.push('name=' + encodeURIComponent(name));
  const url = 'https://api.example.com/v2/kindNUMBER/items?' + query.join('&');
  if (fetch !== true) return { echo: ctx.params, url };
  const headers = { Authorization: 'Bearer ' + ctx.secrets.get('token'), 'X-Operation': 'NUMBER' };
  const items = [];
  let next = url;
  while (next && items.length < limit) {
    const response = ctx.http.get(next, { headers });
    if (response.status === 401) throw new Error('the token is not accepted; connect again');
    if (response.status === 404) throw new Error('there is no kind NUMBER');
    if (response.status === 429) throw new Error('too many requests; try again in ' + response.headers['retry-after'] + ' s');
    if (response.status >= 400) throw new Error('the service answered ' + response.status + ': ' + response.text());
    const body = response.json();
    for (const item of body.items ?? []) {
      items.push({
        id: item.id,
        title: item.title ?? '(no title)',
        created: new Date(item.created_at * 1000).toISOString(),
        tags: (item.tags ?? []).map((tag) => tag.name.toLowerCase()),
      });
    }
    next = body.links?.next;
  }
  return { items: items.slice(0, limit), more: Boolean(next) };
}
