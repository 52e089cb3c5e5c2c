// What parametersSchema in config.json promises: by the time the code runs, the parameters were checked against it and
// its defaults filled in.
interface GreetParams {
  name: string;
}

interface GetRepositoryParams {
  owner: string;
  repository: string;
}

const API = "https://api.github.com";

const connector: Connector = {
  // Runs when a connection is tested. An Error that is thrown here is what the person who connects gets to read.
  testConnection(ctx) {
    const answer = get(ctx, "/rate_limit");
    return { success: true, message: `GitHub answers; ${answer.rate.remaining} requests are left this hour` };
  },

  // Runs for each call of an operation. Whatever it returns reaches the caller as JSON.
  execute(ctx) {
    switch (ctx.operation) {
      case "greet":
        return greet(ctx.params);
      case "get_repository":
        return getRepository(ctx, ctx.params);
      default:
        throw new Error(`The operation "${ctx.operation}" is in config.json, but not in connector.ts`);
    }
  },
};

function greet({ name }: GreetParams) {
  console.log(`greeting ${name}`);
  return { greeting: `Hello, ${name}!` };
}

function getRepository(ctx: TestContext, { owner, repository }: GetRepositoryParams) {
  const found = get(ctx, `/repos/${encodeURIComponent(owner)}/${encodeURIComponent(repository)}`);
  return {
    full_name: found.full_name,
    description: found.description,
    stars: found.stargazers_count,
    default_branch: found.default_branch,
  };
}

// The only function that talks to the API, so that the headers and the errors are right everywhere.
function get(ctx: TestContext, path: string): any {
  const headers: Record<string, string> = { Accept: "application/vnd.github+json", "User-Agent": "__SLUG__" };
  const token = ctx.secrets.get("accessToken");
  if (token) {
    headers.Authorization = `Bearer ${token}`;
  }
  // Any status is returned, not thrown; a request that gets no response at all throws by itself.
  const response = ctx.http.get(API + path, { headers });
  switch (response.status) {
    case 200:
      return response.json();
    case 401:
      throw new Error("GitHub refused the access token: create a new one and connect again");
    case 404:
      throw new Error(`GitHub has no ${path}, or the access token may not see it`);
    default:
      throw new Error(`GitHub answered ${response.status} ${response.statusText} to ${path}`);
  }
}
