import { isIPv4, isIPv6 } from 'node:net'

/** The 4 or 16 bytes of an address; undefined for a host name, and for an address that means something on one machine only (`fe80::1%eth0`). */
export function addressBytes(address: string): Buffer | undefined {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number))
  if (!isIPv6(address) || address.includes('%')) return undefined
  // The URL parser knows all spellings and gives one.
  const [head = '', tail = ''] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const [first, last] = [head, tail].map((half) => (half === '' ? [] : half.split(':')))
  const groups = [...first!, ...Array<string>(8 - first!.length - last!.length).fill('0'), ...last!]
  return Buffer.from(groups.map((group) => group.padStart(4, '0')).join(''), 'hex')
}

export function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.')
  const groups = bytes.toString('hex').match(/.{4}/g)!
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

/** What `addressBytes(…).toString('hex')` was made of; undefined: of nothing. */
export function bytesOfLabel(label: string): Buffer | undefined {
  return /^(?:[\da-f]{8}|[\da-f]{32})$/.test(label) ? Buffer.from(label, 'hex') : undefined
}
