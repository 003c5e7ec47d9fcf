/** What a file of routes says once it is read: every default filled in. Durations are milliseconds. */
export interface GatewayFile {
  listeners: Listener[]
  trustedProxies: string[]
  traceSampleRatio: number
  services: Record<string, Service>
  identityProviders: Record<string, IdentityProvider>
  routes: Route[]
}

export interface Service {
  maxInstances: number
  tls?: { caFile: string } | undefined
}

export interface Listener {
  port: number
  address: string
  tls?: { certificateFile: string; keyFile: string; http2: boolean } | undefined
  redirectToPort?: number | undefined
}

export type Algorithm = 'RS256' | 'RS384' | 'RS512' | 'PS256' | 'PS384' | 'PS512' | 'ES256' | 'ES384' | 'ES512' | 'EdDSA'

export interface IdentityProvider {
  issuer: string
  audience: string
  jwksUri: string
  algorithms: Algorithm[]
  clockToleranceMs: number
  identityHeaders: { name: string; claim: string }[]
}

export type Method = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OPTIONS'

export interface Match {
  path: { type: 'Exact' | 'PathPrefix' | 'RegularExpression'; value: string }
  method?: Method | undefined
  headers: { name: string; value: string; type: 'Exact' | 'RegularExpression' }[]
}

export interface HeaderModifier {
  set: { name: string; value: string }[]
  remove: string[]
}

export interface Redirect {
  scheme?: 'http' | 'https' | undefined
  hostname?: string | undefined
  path?: { replaceFullPath: string } | undefined
  statusCode: 301 | 302 | 307 | 308
}

export interface Cors {
  allowOrigins: string[]
  allowMethods: Method[]
  allowHeaders: string[]
  exposeHeaders: string[]
  allowCredentials: boolean
  maxAgeSeconds: number
}

export type Filter =
  | { requestHeaderModifier: HeaderModifier }
  | { responseHeaderModifier: HeaderModifier }
  | { requestRedirect: Redirect }
  | { urlRewrite: { path: { replacePrefixMatch: string } | { replaceFullPath: string } } }
  | { cors: Cors }

export interface RateLimit {
  requests: number
  periodMs: number
  burst?: number | undefined
  by: 'consumer' | 'ip' | 'route'
  whenRedisIsDown: 'local-share' | 'open' | 'closed'
}

export interface Route {
  name: string
  hostnames: string[]
  matches: Match[]
  auth: 'public' | { jwt: string; scopes: string[]; forwardToken: boolean }
  backendRefs: { name: string; weight: number }[]
  filters: Filter[]
  timeouts: { requestMs: number; backendRequestMs: number }
  retry: { maxAttempts: number; codes: (502 | 503 | 504)[]; nonIdempotent: boolean }
  maxBodyBytes?: number | undefined
  rateLimit?: RateLimit | undefined
  webSocket: boolean
  grpc: boolean
  streaming: boolean
}
