import { z } from 'zod'

/** Of a service that takes requests; its probes and metrics as well. */
export const certificateSetting = z
  .string()
  .optional()
  .describe(
    'File with certificate and key (PEM); requests and probes then come by https, and a renewed file is taken over within ten seconds',
  )
  .meta({ reload: 'restart' })

/** For `httpServer` and the admin listener. */
export function tlsOf(certificate: string | undefined): { tls?: { certificateFile: string; keyFile: string } } {
  return certificate === undefined ? {} : { tls: { certificateFile: certificate, keyFile: certificate } }
}
