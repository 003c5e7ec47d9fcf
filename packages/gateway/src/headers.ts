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

/**
 * By these some services and frameworks take a client's word for who asks, from where, for what path or by what method. A request would then be another
 * one than the gateway has let in: they never arrive.
 */
export const believedHeaders: readonly string[] = `
  x-forwarded-prefix x-forwarded-path x-forwarded-uri x-forwarded-url x-forwarded-method x-forwarded-scheme x-forwarded-protocol x-forwarded-ssl
  x-forwarded-server x-forwarded-by x-forwarded-user x-forwarded-email x-forwarded-groups x-forwarded-preferred-username x-forwarded-access-token
  x-forwarded-client-cert x-forwarded-tls-client-cert x-forwarded-tls-client-cert-info
  x-original-url x-original-uri x-original-host x-original-method x-rewrite-url x-host x-envoy-original-path
  x-http-method-override x-http-method x-method-override front-end-https proxy
  x-client-ip x-cluster-client-ip x-originating-ip x-remote-ip x-remote-addr true-client-ip cf-connecting-ip x-envoy-external-address
  x-remote-user remote-user x-auth-request-user`
  .trim()
  .split(/\s+/)

/** Of an answer: what nginx writes by itself, and what the gateway says. */
export const answerHeaders: ReadonlySet<string> = new Set([
  'content-length',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'upgrade',
  'trailer',
  'content-encoding',
  'date',
  'server',
  'x-request-id',
  'server-timing',
  'ratelimit',
  'ratelimit-policy',
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
