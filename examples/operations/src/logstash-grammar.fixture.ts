/** A section of a pipeline and the plugins in it, those of its branches as well. */
export type Section = readonly [name: string, plugins: readonly string[]]

const token = /#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|=>|==|!=|[{}[\],()]|[\w.@-]+|\S/g

/** Logstash's grammar, as far as the files here use it: sections of plugins, branches, settings. Throws where Logstash would. */
export function readPipeline(text: string): Section[] {
  const reader = new PipelineReader((text.match(token) ?? []).filter((each) => !each.startsWith('#')))
  return reader.sections()
}

class PipelineReader {
  readonly #tokens: readonly string[]
  #at = 0

  constructor(tokens: readonly string[]) {
    this.#tokens = tokens
  }

  sections(): Section[] {
    const found: Section[] = []
    while (this.#at < this.#tokens.length) found.push([this.#take(/^(?:input|filter|output)$/), this.#plugins()])
    return found
  }

  #plugins(): string[] {
    const plugins: string[] = []
    this.#take(/^{$/)
    while (this.#next() !== '}') {
      const name = this.#take(/^[a-z_]+$/)
      if (name === 'if' || name === 'else') {
        while (this.#next() !== '{') this.#take(/./)
        plugins.push(...this.#plugins())
      } else {
        plugins.push(name)
        this.#take(/^{$/)
        this.#pairs(/^[a-z_]+$/)
      }
    }
    this.#take(/^}$/)
    return plugins
  }

  /** `name => value` up to the closing brace. */
  #pairs(name: RegExp): void {
    while (this.#next() !== '}') {
      this.#take(name)
      this.#take(/^=>$/)
      this.#value()
    }
    this.#take(/^}$/)
  }

  #value(): void {
    const opening = this.#take(/^["'\w[{]/)
    if (opening === '{') this.#pairs(/^["'\w]/)
    if (opening !== '[') return
    while (this.#next() !== ']') {
      this.#value()
      if (this.#next() === ',') this.#take(/^,$/)
    }
    this.#take(/^]$/)
  }

  #next(): string {
    return this.#tokens[this.#at] ?? 'the end'
  }

  #take(wanted: RegExp): string {
    const found = this.#next()
    if (this.#at >= this.#tokens.length || !wanted.test(found))
      throw new Error(`expected ${wanted}, found ${found} after ${this.#tokens.slice(Math.max(0, this.#at - 4), this.#at).join(' ')}`)
    this.#at++
    return found
  }
}
