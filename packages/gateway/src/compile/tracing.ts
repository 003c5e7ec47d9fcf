/** Traces begin here: the id of the request is that of its trace, and whether it is sampled is drawn here whatever a client says. */
import { block, type Directive, type Piece, raw, variable, word } from '../nginx-text.ts'

export const traceParent: readonly Piece[] = [
  '00-',
  variable('request_id'),
  '-',
  variable('platform_span'),
  '-',
  variable('platform_sampled'),
]

export function tracing(sampleRatio: number): Directive[] {
  const percent = Math.round(sampleRatio * 10_000) / 100
  return [
    block(
      'map',
      [word('$request_id'), word('$platform_span')],
      [
        { name: 'default', args: [raw('0000000000000001')] },
        { name: '~^.{16}(.{16})$', args: [[variable('1')]] },
      ],
    ),
    block(
      'split_clients',
      [[variable('request_id'), 'trace'], word('$platform_sampled')],
      [
        ...(percent > 0 ? [{ name: percent >= 100 ? '*' : `${percent}%`, args: [word('01')] }] : []),
        ...(percent >= 100 ? [] : [{ name: '*', args: [word('00')] }]),
      ],
    ),
  ]
}
