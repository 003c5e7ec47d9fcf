import type { Match, RateLimit, Route } from '../gateway-file.ts'

/** Names in the generated text. They follow from the file alone, so that zones keep their contents over a reload. */
export const upstreamOf = (service: string): string => `svc_${service}`
/** A group of its own: nginx keeps connections by address, and one of HTTP/1.1 is none for gRPC. */
export const grpcUpstreamOf = (service: string): string => `grpc_${service}`
/** Before the name of a route. */
export const locationPrefix = '@route_'
export const locationOf = (route: Route): string => `${locationPrefix}${route.name}`
export const verifierUpstream = 'platform_verifier'
export const verifyPath = '/_platform/verify'

/** 64 KiB and 1 KiB each; beyond it nginx would use a part of the set with nothing but a line in its log. */
export function zoneSize(maxInstances: number): string {
  return `${64 + maxInstances}k`
}

/** What is set in nginx while a request is dispatched. */
export const routeVariable = 'platform_route'
export const corsVariable = 'platform_cors'

export function isVerified({ auth, rateLimit }: { auth: Route['auth']; rateLimit?: RateLimit | undefined }): boolean {
  return auth !== 'public' || rateLimit !== undefined
}

/** `map` and `split_clients` variables are global: one number each. */
export function countedNames(): (kind: string) => string {
  const counts = new Map<string, number>()
  return (kind) => {
    const count = (counts.get(kind) ?? 0) + 1
    counts.set(kind, count)
    return `platform_${kind}_${count}`
  }
}

/** A text as a piece of a PCRE that matches just it. */
export function regexOf(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|#\s/-]/g, '\\$&')
}

export function pathKey({ path }: Match): string {
  return `${path.type} ${path.value}`
}
