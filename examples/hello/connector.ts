// What `parametersSchema` in config.json promises: by the time the code runs, the parameters were checked against it
// and its defaults filled in.
interface GreetParams {
  name: string;
  language: "en" | "de" | "es" | "fr";
}

interface CountWordsParams {
  text: string;
  top: number;
}

const GREETINGS: Record<GreetParams["language"], string> = {
  en: "Hello",
  de: "Hallo",
  es: "Hola",
  fr: "Bonjour",
};

const connector: Connector = {
  // Runs when a connection is tested. There is nothing to reach here, so there is nothing that could fail.
  testConnection() {
    return { success: true, message: "Ready to greet" };
  },

  // Runs for each call of an operation. Whatever it returns reaches the caller as JSON.
  execute(ctx) {
    switch (ctx.operation) {
      case "greet":
        return greet(ctx.params);
      case "count_words":
        return countWords(ctx.params);
      default:
        throw new Error(`The operation "${ctx.operation}" is in config.json, but not in connector.ts`);
    }
  },
};

function greet({ name, language }: GreetParams) {
  const trimmed = name.trim();
  if (trimmed === "") {
    throw new Error("name holds nothing but spaces: say whom to greet");
  }
  console.log(`greeting ${trimmed} in ${language}`);
  return { greeting: `${GREETINGS[language]}, ${trimmed}!`, language };
}

function countWords({ text, top }: CountWordsParams) {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  const counts = new Map<string, number>();
  for (const word of words) {
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  // Sorting is stable: words that are equally frequent stay in the order of the text.
  const ranked = [...counts].sort(([, first], [, second]) => second - first);
  return {
    words: words.length,
    distinct: counts.size,
    most_frequent: ranked.slice(0, top).map(([word, count]) => ({ word, count })),
  };
}
