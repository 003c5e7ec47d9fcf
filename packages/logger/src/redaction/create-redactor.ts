import { type RedactOptions, resolveRedaction } from '../options.ts'
import { Redaction } from './redaction.ts'

/** What a logger hides, for other places from which texts leave, like the attributes of spans. */
export interface Redactor {
  /** The text without its secrets. */
  text(text: string): string
  /** Whether the value under this name must not show. */
  isSecretName(name: string): boolean
}

/** Throws `ERR_LOGGER_OPTION` for a wrong option; after that nothing throws. */
export function createRedactor(options: RedactOptions = {}): Redactor {
  const redaction = new Redaction(resolveRedaction(options))
  return {
    text(text) {
      redaction.refresh()
      return redaction.text(text)
    },
    isSecretName: (name) => redaction.isSecretKey(name),
  }
}
