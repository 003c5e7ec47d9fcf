import { readFileSync, statSync } from 'node:fs'
import type { SecureContextOptions } from 'node:tls'
import { backgroundInterval } from '@platform/kernel'
import { ServiceError } from './errors.ts'
import type { LoggerLike } from './logger-like.ts'

export interface CertificateFiles {
  /** PEM, the certificate first, then those that lead to its authority. */
  certificateFile: string
  /** PEM. May be the same file. */
  keyFile: string
}

/** Of `node:https`, of `node:http2` with TLS, or another that takes a certificate while it runs. */
interface Certified {
  setSecureContext(options: SecureContextOptions): void
}

const lookEveryMs = 10_000

const refuse = (option: string, problem: string) => new ServiceError('ERR_SERVICE_OPTION', `${option} ${problem}`)

export function certificateFilesOption(option: string, files: unknown): CertificateFiles | undefined {
  if (files === undefined) return undefined
  const { certificateFile, keyFile } = (files ?? {}) as Partial<CertificateFiles>
  if (typeof certificateFile !== 'string' || certificateFile === '') throw refuse(`${option}.certificateFile`, 'must be the path of a file')
  if (typeof keyFile !== 'string' || keyFile === '') throw refuse(`${option}.keyFile`, 'must be the path of a file')
  return { certificateFile, keyFile }
}

/**
 * Gives the server its certificate, throws `ERR_SERVICE_OPTION` when that cannot be, and gives it each one that replaces it: new connections see
 * the new one, those that are open stay. What cannot be taken over is logged, and looked at again. Returns what ends it.
 */
export function followCertificate(server: object, files: CertificateFiles, option: string, logger: LoggerLike): () => void {
  if (!isCertified(server)) throw refuse(option, 'needs a server that speaks TLS, as node:https makes it')
  const take = () => server.setSecureContext({ cert: readFileSync(files.certificateFile), key: readFileSync(files.keyFile) })
  let seen = stampOf(files)
  try {
    take()
  } catch (cause) {
    throw new ServiceError('ERR_SERVICE_OPTION', `${option} names no certificate with its key: ${(cause as Error).message}`, { cause })
  }
  const timer = backgroundInterval(() => {
    const now = stampOf(files)
    if (now === seen) return
    try {
      take()
      seen = now
      logger.info({ file: files.certificateFile }, 'the certificate was renewed')
    } catch (error) {
      logger.error({ err: error, file: files.certificateFile }, 'the new certificate cannot be taken; the one of before stays')
    }
  }, lookEveryMs)
  return () => clearInterval(timer)
}

function isCertified(server: object): server is Certified {
  return 'setSecureContext' in server && typeof server.setSecureContext === 'function'
}

function stampOf({ certificateFile, keyFile }: CertificateFiles): string {
  return [certificateFile, keyFile]
    .map((file) => {
      const { mtimeMs, size, ino } = statSync(file, { throwIfNoEntry: false }) ?? {}
      return `${mtimeMs}/${size}/${ino}`
    })
    .join(' ')
}
