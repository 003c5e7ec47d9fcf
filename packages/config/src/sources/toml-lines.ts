import { parse } from 'smol-toml'

/** Finds the lines of tables and keys. The parser gives none; a key inside an inline table or a list stands where that begins. */
export function locateToml(text: string, at: (path: readonly string[], line: number) => void): void {
  let table: readonly string[] = []
  let quote: string | undefined
  for (const [index, line] of text.split('\n').entries()) {
    if (quote === undefined) {
      const header = /^\s*\[{1,2}([^[\]]+)\]{1,2}\s*(#.*)?$/.exec(line)?.[1]
      const key = /^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=/.exec(line)?.[1]
      const path = keysOf(header ?? key)
      if (header !== undefined) table = path
      const full = header === undefined ? [...table, ...path] : path
      if (path.length > 0) at(full, index + 1)
    }
    for (const mark of line.match(/"""|'''/g) ?? []) quote = quote === undefined ? mark : quote === mark ? undefined : quote
  }
}

function keysOf(dotted: string | undefined): string[] {
  if (dotted === undefined) return []
  const keys: string[] = []
  try {
    let node: unknown = parse(`${dotted} = 0`)
    while (typeof node === 'object' && node !== null) {
      const [[key, inner] = ['', 0]] = Object.entries(node)
      keys.push(key)
      node = inner
    }
  } catch {}
  return keys
}
