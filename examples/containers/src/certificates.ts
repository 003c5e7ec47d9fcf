import { mkdirSync, readFileSync } from 'node:fs'
import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { compose, type ComposeProject } from '@platform/stack/compose'

/** Those that have a certificate: a folder each, which is mounted where it is used. */
export const certified = [
  'postgres',
  'redis',
  'rabbitmq',
  'consul',
  'catalog-api',
  'orders-api',
  'fulfilment-worker',
  'identity-api',
  'gateway',
] as const
const shared = ['trusted', 'authority', 'metrics']

/** The folders must be there before the engine mounts them: it would make them root's. What is in them is the container's work, as this user. */
export function prepareCertificates(secrets: string): void {
  for (const name of [...certified, ...shared]) mkdirSync(join(secrets, 'tls', name), { recursive: true, mode: 0o755 })
}

/** For `user` of the container that writes into the folder of the passwords. */
export function ownUser(): string {
  return `${process.getuid?.() ?? 0}:${process.getgid?.() ?? 0}`
}

/** All anew; each part takes its own over within ten seconds. */
export function renewCertificates(project: ComposeProject): Promise<string> {
  return compose(project, 'exec', '-T', 'certificates', 'bash', '/etc/film-store/certificates.sh', 'renew')
}

/** PEM of the authority that customers, too, have to trust. */
export const authorityFile = (secrets: string): string => join(secrets, 'tls/trusted/ca.pem')

/** When the first of them ends; undefined before they are made. */
export function certificatesEnd(secrets: string): Date | undefined {
  try {
    const ends = certified.map((name) => new X509Certificate(readFileSync(join(secrets, 'tls', name, 'certificate.pem'))).validToDate)
    return new Date(Math.min(...ends.map(Number)))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
