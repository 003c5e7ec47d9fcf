import net from 'node:net'
import tls from 'node:tls'

/** Self-signed for localhost and 127.0.0.1, and its key: they guard nothing but these tests. */
export const certificate = `-----BEGIN CERTIFICATE-----
MIIBaDCCAQ2gAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlsb2NhbGhv
c3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEwMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CWxvY2FsaG9zdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCSfRNfTTovV9J3A
d4bIxx2Ij9AraekyCtLkYTja24mus5kuqgdkYnZeBP/hMEg3REsOP38kajBOlBWU
Sq+RKUmjTjBMMBoGA1UdEQQTMBGCCWxvY2FsaG9zdIcEfwAAATAPBgNVHRMBAf8E
BTADAQH/MB0GA1UdDgQWBBTQ48h47aVrhAJU61WmD/jRrjLXpjAKBggqhkjOPQQD
AgNJADBGAiEA2LU/RBhkQ7z7Ysh7V8U/MOfu2RCxFrUt3IklOPBW5SgCIQCCuD9/
KKROomSTdsUIRwm9jxePGcWuh0cCEipJCZO6vQ==
-----END CERTIFICATE-----
`
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgD1Qf+drzTBSP3uNV
GIK2s67xBBkX09yFqgcXaNICAb6hRANCAAQkn0TX006L1fSdwHeGyMcdiI/QK2np
MgrS5GE42tuJrrOZLqoHZGJ2XgT/4TBIN0RLDj9/JGowTpQVlEqvkSlJ
-----END PRIVATE KEY-----
`
const sslRequest = 80_877_103
const cancelRequest = 80_877_102

/** Speaks TLS for a server that does not, both ways: after a question, or from the first byte. Counts what came that way. */
export async function tlsProxy(target: string): Promise<{ url: string; seen: { connections: number; cancels: number }; close(): void }> {
  const { hostname, port } = new URL(target)
  const seen = { connections: 0, cancels: 0 }
  const sockets = new Set<net.Socket>()
  const serve = (near: net.Socket): void => {
    const secure = new tls.TLSSocket(near, { isServer: true, key, cert: certificate, ALPNProtocols: ['postgresql'] })
    const far = net.connect(Number(port), hostname)
    secure.once('data', (first: Buffer) => {
      seen[first.readInt32BE(4) === cancelRequest ? 'cancels' : 'connections']++
      far.write(first)
      secure.pipe(far)
    })
    far.pipe(secure)
    secure.on('error', () => far.destroy()).on('close', () => far.destroy())
    far.on('error', () => secure.destroy())
  }
  const server = net.createServer((near) => {
    sockets.add(near)
    near.on('error', () => {}).on('close', () => sockets.delete(near))
    near.once('data', (first) => {
      if (first.length === 8 && first.readInt32BE(4) === sslRequest) near.write('S')
      else near.pause().unshift(first)
      serve(near)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: Object.assign(new URL(target), { port: String((server.address() as net.AddressInfo).port) }).href,
    seen,
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}
