import { randomUUID } from 'node:crypto'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'

export const audience = 'film-store'

/** Keys of one run: whoever holds a token of an earlier one signs in again. */
export async function createSigner(issuer: string) {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const kid = randomUUID()
  return {
    keys: { keys: [{ ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' }] },
    sign: (customer: string) =>
      new SignJWT({ scope: 'orders:write orders:read' })
        .setProtectedHeader({ alg: 'ES256', kid })
        .setIssuer(issuer)
        .setAudience(audience)
        .setSubject(customer)
        .setIssuedAt()
        .setExpirationTime('1h')
        .sign(privateKey),
  }
}
