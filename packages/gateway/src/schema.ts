/** The file of routes, in the names of the Gateway API's HTTPRoute without its envelope. */
import { isIP } from 'node:net'
import { z } from 'zod'
import type { GatewayFile } from './gateway-file.ts'

const longestMs = 2_147_483_647

/** What nginx text cannot hold in any place: it is refused everywhere rather than escaped somewhere. */
const text = (longest: number): z.ZodString =>
  z
    .string()
    .min(1)
    .max(longest)
    .refine((value) => !/[\p{Cc}\u2028\u2029]/u.test(value) && value.isWellFormed(), 'holds a control character or a broken one')
const id = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'must be lower-case letters, digits and hyphens, 63 at most')
const headerName = z.string().regex(/^[A-Za-z0-9-]{1,80}$/, 'must be a header name of letters, digits and hyphens')
const scope = z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,200}$/, 'must be one word without quotes and backslashes')
/** As nginx reads it: an address, or one and the length of its prefix. */
function isNetwork(text: string): boolean {
  const [, address = '', length] = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(address)
  return version !== 0 && Number(length ?? 0) <= (version === 4 ? 32 : 128)
}

const durationMs = z.int().min(1).max(longestMs)
const path = text(1000).refine((value) => value.startsWith('/'), 'must begin with /')
const hostname = z
  .string()
  .max(253)
  .regex(
    /^(?:\*\.)?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/,
    'must be a host name in lower case, or *. and one',
  )
const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const

const header = z.strictObject({ name: headerName, value: text(1000) })
const headerModifier = z.strictObject({
  set: z.array(header).default([]).describe('In place of what the header was.'),
  remove: z.array(headerName).default([]),
})

const match = z.strictObject({
  path: z
    .strictObject({
      type: z.enum(['Exact', 'PathPrefix', 'RegularExpression']).default('PathPrefix'),
      value: path.describe('PathPrefix: whole segments, /films matches /films and /films/7. RegularExpression: PCRE over the whole path.'),
    })
    .default({ type: 'PathPrefix', value: '/' }),
  method: z.enum(methods).optional().describe('GET includes HEAD. Default: any of the known ones.'),
  headers: z
    .array(z.strictObject({ name: headerName, value: text(500), type: z.enum(['Exact', 'RegularExpression']).default('Exact') }))
    .max(8)
    .default([]),
})

const filter = z.union([
  z.strictObject({ requestHeaderModifier: headerModifier }),
  z.strictObject({ responseHeaderModifier: headerModifier }),
  z.strictObject({
    requestRedirect: z.strictObject({
      scheme: z.enum(['http', 'https']).optional(),
      hostname: hostname.optional(),
      path: z.strictObject({ replaceFullPath: path }).optional(),
      statusCode: z.union([z.literal(301), z.literal(302), z.literal(307), z.literal(308)]).default(302),
    }),
  }),
  z.strictObject({
    urlRewrite: z.strictObject({
      path: z.union([z.strictObject({ replacePrefixMatch: path }), z.strictObject({ replaceFullPath: path })]),
    }),
  }),
  z.strictObject({
    cors: z.strictObject({
      allowOrigins: z.array(z.string().regex(/^https?:\/\/[a-z0-9.-]+(?::\d{1,5})?$/, 'must be an origin in lower case')).min(1),
      allowMethods: z.array(z.enum(methods)).default([]).describe('Default: those of the routes on this path.'),
      allowHeaders: z.array(headerName).default([]),
      exposeHeaders: z.array(headerName).default([]),
      allowCredentials: z.boolean().default(false),
      maxAgeSeconds: z.int().min(0).max(86_400).default(600),
    }),
  }),
])

const auth = z.union([
  z.literal('public'),
  z.strictObject({
    jwt: id.describe('One of `identityProviders`.'),
    scopes: z.array(scope).default([]).describe('All of them must be in the claim `scope` or `scp`, else 403.'),
    forwardToken: z.boolean().default(false).describe('Whether the service gets the Authorization header.'),
  }),
])

const rateLimit = z.strictObject({
  requests: z.int().min(1).max(1_000_000_000),
  periodMs: durationMs.max(86_400_000),
  burst: z.int().min(1).max(1_000_000_000).optional().describe('Default: `requests`.'),
  by: z.enum(['consumer', 'ip', 'route']).describe('consumer: the subject of the token, the address where there is none.'),
  whenRedisIsDown: z
    .enum(['local-share', 'open', 'closed'])
    .default('local-share')
    .describe("local-share: this gateway's part of the limit."),
})

const route = z.strictObject({
  name: id,
  hostnames: z.array(hostname).default([]).describe('None: hosts that no other route names.'),
  matches: z.array(match).min(1).max(16),
  auth: auth.describe('Needed: nothing is public unless it says so.'),
  backendRefs: z
    .array(z.strictObject({ name: id, weight: z.int().min(0).max(1_000_000).default(1) }))
    .max(16)
    .default([]),
  filters: z.array(filter).max(8).default([]),
  timeouts: z
    .strictObject({
      requestMs: durationMs
        .default(10_000)
        .describe('What the service is told it has (x-platform-deadline-ms), and the time for all tries.'),
      backendRequestMs: durationMs.default(10_000).describe('Longest silence of the service in one try.'),
    })
    .default({ requestMs: 10_000, backendRequestMs: 10_000 }),
  retry: z
    .strictObject({
      maxAttempts: z.int().min(1).max(5).default(2).describe('Tries in all; 1: none is repeated.'),
      codes: z
        .array(z.union([z.literal(502), z.literal(503), z.literal(504)]))
        .default([502, 503, 504])
        .describe('Answers that are tried again elsewhere.'),
      nonIdempotent: z.boolean().default(false).describe('POST and PATCH too, after they were sent: for routes with an idempotency key.'),
    })
    .default({ maxAttempts: 2, codes: [502, 503, 504], nonIdempotent: false }),
  maxBodyBytes: z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional().describe('Default 1 MiB. One path has one limit.'),
  rateLimit: rateLimit.optional(),
  webSocket: z.boolean().default(false).describe('Upgrades pass; such a connection may be silent for an hour.'),
  grpc: z
    .boolean()
    .default(false)
    .describe("HTTP/2 to the service, bodies and trailers as they come; the gateway's own answers are gRPC statuses."),
  streaming: z.boolean().default(false).describe('Bodies are passed on as they come, both ways: uploads, server-sent events.'),
})

const identityProvider = z.strictObject({
  issuer: text(1000),
  audience: text(1000),
  jwksUri: z.url({ protocol: /^https?$/ }),
  algorithms: z.array(z.enum(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'])).min(1),
  clockToleranceMs: z.int().min(0).max(300_000).default(30_000),
  identityHeaders: z
    .array(z.strictObject({ name: headerName, claim: text(200) }))
    .max(16)
    .default([])
    .describe('Further claims that services get as headers. x-platform-subject and x-platform-scopes are always set.'),
})

export const gatewaySchema: z.ZodType<GatewayFile> = z.strictObject({
  listeners: z
    .array(
      z.strictObject({
        port: z.int().min(1).max(65_535),
        address: z
          .string()
          .refine((value) => isIP(value) !== 0 && !value.includes('%'), 'must be an IP address')
          .default('0.0.0.0'),
        tls: z.strictObject({ certificateFile: path, keyFile: path, http2: z.boolean().default(true) }).optional(),
        redirectToPort: z.int().min(1).max(65_535).optional().describe('Answers all with a redirect to https on that port.'),
      }),
    )
    .min(1)
    .max(16),
  trustedProxies: z
    .array(z.string().refine(isNetwork, 'must be an address or a network'))
    .default([])
    .describe("Whose X-Forwarded-For tells the client's address. Default: nobody's."),
  traceSampleRatio: z.number().min(0).max(1).default(0.1),
  services: z.record(
    id,
    z.strictObject({
      maxInstances: z.int().min(1).max(10_000).default(200).describe('The memory for them is made at the start: 64 KiB and 1 KiB each.'),
      tls: z
        .strictObject({ caFile: path })
        .optional()
        .describe("Its instances are asked by https: their certificates are for the service's name, from an authority in that file (PEM)."),
    }),
  ),
  identityProviders: z.record(id, identityProvider).default({}),
  routes: z.array(route).min(1).max(5_000),
})

/** For editors: `# yaml-language-server: $schema=…`. */
export function gatewayJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(gatewaySchema, { io: 'input' })
}
