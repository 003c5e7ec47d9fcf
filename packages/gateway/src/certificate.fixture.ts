/** Certificates that sign themselves: Node reads them and makes none. */
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import { writeFileSync } from 'node:fs'

const tag = { integer: 0x02, bits: 0x03, octets: 0x04, text: 0x0c, sequence: 0x30, set: 0x31, utcTime: 0x17, laterTime: 0x18 } as const
const ecdsaWithSha256 = Buffer.from('06082a8648ce3d040302', 'hex')
const commonName = Buffer.from('0603550403', 'hex')
const alternativeName = Buffer.from('0603551d11', 'hex')

function der(kind: number, ...parts: readonly (Buffer | string)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)))
  const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 0xff]
  return Buffer.concat([Buffer.from([kind, ...length]), body])
}

/** Writes a key and a certificate of this name for localhost. */
export function writeCertificate(name: string, files: { readonly certificateFile: string; readonly keyFile: string }): void {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = der(tag.sequence, ecdsaWithSha256)
  const subject = der(tag.sequence, der(tag.set, der(tag.sequence, commonName, der(tag.text, name))))
  const hosts = der(tag.sequence, alternativeName, der(tag.octets, der(tag.sequence, der(0x82, 'localhost'))))
  const body = der(
    tag.sequence,
    der(0xa0, der(tag.integer, Buffer.of(2))),
    der(tag.integer, Buffer.concat([Buffer.of(1), randomBytes(8)])),
    algorithm,
    subject,
    der(tag.sequence, der(tag.utcTime, '250101000000Z'), der(tag.laterTime, '20990101000000Z')),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, der(tag.sequence, hosts)),
  )
  const signature = der(tag.bits, Buffer.of(0), sign('sha256', body, privateKey))
  const text = der(tag.sequence, body, algorithm, signature).toString('base64')
  writeFileSync(files.keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }))
  writeFileSync(files.certificateFile, `-----BEGIN CERTIFICATE-----\n${text.replaceAll(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`)
}
