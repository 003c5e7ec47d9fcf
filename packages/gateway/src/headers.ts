/** What the gateway says to services in headers. Whatever a client sends under these names does not arrive. */
export const subjectHeader = 'x-platform-subject'
export const scopesHeader = 'x-platform-scopes'
export const deadlineHeader = 'x-platform-deadline-ms'
export const attemptHeader = 'x-platform-attempt'
export const requestIdHeader = 'x-request-id'

export const platformHeaders: ReadonlySet<string> = new Set([
  subjectHeader,
  scopesHeader,
  deadlineHeader,
  attemptHeader,
  requestIdHeader,
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-real-ip',
  'forwarded',
  'traceparent',
  'tracestate',
  'baggage',
  'host',
  'connection',
  'upgrade',
  'content-length',
  'transfer-encoding',
  'te',
  'expect',
  'authorization',
])

/** Between nginx and the verifier, on its socket only. */
export const verdictHeaders = {
  route: 'x-verify-route',
  clientAddress: 'x-verify-address',
  status: 'x-verdict-status',
  code: 'x-verdict-code',
  detail: 'x-verdict-detail',
  retryAfter: 'x-verdict-retry-after',
  rateLimit: 'x-verdict-ratelimit',
  rateLimitPolicy: 'x-verdict-ratelimit-policy',
  challenge: 'x-verdict-challenge',
  subject: 'x-verdict-subject',
  scopes: 'x-verdict-scopes',
  claims: 'x-verdict-claim-',
  durationMs: 'x-verdict-duration-ms',
} as const
