import type { Identity } from './tokens.ts'
import type { LimitVerdict } from './limits.ts'

/** What the verifier says of a request. `code` is what metrics and the log call it. */
export type Verdict = { readonly limit?: LimitVerdict | undefined } & (
  | { readonly code: 'allowed'; readonly status: 200; readonly identity?: Identity | undefined }
  | { readonly code: DenialCode; readonly status: 401 | 403 | 429 | 503; readonly detail: string; readonly identity?: Identity | undefined }
)

export type DenialCode =
  | 'token_missing'
  | 'token_malformed'
  | 'token_invalid'
  | 'token_expired'
  | 'scope_missing'
  | 'rate_limited'
  | 'keys_unavailable'
  | 'unknown_route'
  | 'verifier_failed'
