import { type Directive, directive, variable, word } from '../nginx-text.ts'

/** What the verifier said besides its answer: headers of a denial, whatever form the denial has. */
export function deniedExtras(): Directive[] {
  const extra = (header: string, from: string): Directive => directive('add_header', word(header), [variable(from)], word('always'))
  return [
    extra('Retry-After', 'platform_retry_after'),
    extra('RateLimit', 'platform_ratelimit'),
    extra('RateLimit-Policy', 'platform_ratelimit_policy'),
    extra('WWW-Authenticate', 'platform_challenge'),
    directive('add_header', word('Server-Timing'), ['auth;dur=', variable('platform_auth_ms')], word('always')),
  ]
}
