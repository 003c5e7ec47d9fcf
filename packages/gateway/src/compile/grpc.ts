/** Routes of gRPC: HTTP/2 to the service, bodies and trailers as they come, and every answer of the gateway as a status that its clients know. */
import type { Route } from '../gateway-file.ts'
import { type Argument, block, type Directive, directive, type Piece, raw, variable, word } from '../nginx-text.ts'
import { deniedExtras } from './denied.ts'
import { problems } from './problems.ts'

const path = '/_platform/grpc'
export const grpcDenied = '@denied_grpc'
const statusVariable = 'platform_grpc_status'
/** https://github.com/grpc/grpc/blob/master/doc/statuscodes.md */
const statuses = {
  resourceExhausted: 8,
  deadlineExceeded: 4,
  permissionDenied: 7,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
}

const statusOf: Readonly<Record<(typeof problems)[number], { status: number; message: string }>> = {
  400: { status: statuses.internal, message: 'the request is malformed' },
  404: { status: statuses.unimplemented, message: 'no route takes this' },
  413: { status: statuses.resourceExhausted, message: 'more bytes than this route takes' },
  414: { status: statuses.internal, message: 'the path is too long' },
  431: { status: statuses.resourceExhausted, message: 'the headers are too large' },
  500: { status: statuses.internal, message: 'the gateway failed' },
  502: { status: statuses.unavailable, message: 'no instance of the service answered' },
  503: { status: statuses.unavailable, message: 'no instance of the service can answer' },
  504: { status: statuses.deadlineExceeded, message: 'the service was silent for too long' },
}

export function grpcPages(): Directive[] {
  return problems.map((status) => directive('error_page', status, word('='), word(`${path}/${status}`)))
}

/** For `http { }`. */
export function grpcMaps(file: { routes: readonly Route[] }): Directive[] {
  const entry = (name: string, status: number): Directive => ({ name, args: [word(String(status))] })
  const status = block(
    'map',
    [word('$platform_status'), word(`$${statusVariable}`)],
    [
      entry('default', statuses.unavailable),
      entry('401', statuses.unauthenticated),
      entry('403', statuses.permissionDenied),
      entry('429', statuses.resourceExhausted),
    ],
  )
  return [status, ...file.routes.filter(({ grpc }) => grpc).map(timeoutMap)]
}

/** The service hears of a deadline even if the client has none. A text that is none is replaced. */
function timeoutMap(route: Route): Directive {
  return block(
    'map',
    [word('$http_grpc_timeout'), word(`$${timeoutVariable(route)}`)],
    [
      { name: 'default', args: [raw(grpcTimeout(route.timeouts.requestMs))] },
      { name: '~^[0-9]{1,8}[HMSmun]$', args: [[variable('http_grpc_timeout')]] },
    ],
  )
}

/** Eight digits at most, as its text has it. */
function grpcTimeout(ms: number): string {
  return ms < 100_000_000 ? `${ms}m` : `${Math.floor(ms / 1000)}S`
}

const timeoutVariable = ({ name }: Route): string => `platform_grpc_timeout_${name.replaceAll('-', '_')}`

export function grpcTimeoutPiece(route: Route): Piece {
  return variable(timeoutVariable(route))
}

/** For `server { }`: what the gateway says itself. An answer without a body ends with its headers, so they are the trailers as well. */
export function grpcLocations(file: { routes: readonly Route[] }, verifies: boolean): Directive[] {
  if (!file.routes.some(({ grpc }) => grpc)) return []
  const denied = block('location', [word(grpcDenied)], answer([variable(statusVariable)], [variable('platform_detail')], deniedExtras()))
  const own = problems.map((code) => {
    const { status, message } = statusOf[code]
    return block('location', [word('='), word(`${path}/${code}`)], [directive('internal'), ...answer([String(status)], [message], [])])
  })
  return [...own, ...(verifies ? [denied] : [])]
}

function answer(status: Argument, message: Argument, more: readonly Directive[]): Directive[] {
  const header = (name: string, value: Argument): Directive => directive('add_header', word(name), value, word('always'))
  return [
    directive('default_type', word('application/grpc')),
    header('grpc-status', status),
    header('grpc-message', message),
    header('X-Request-Id', [variable('request_id')]),
    ...more,
    directive('return', 200, ['']),
  ]
}
