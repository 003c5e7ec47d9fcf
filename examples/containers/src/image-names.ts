import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { dockerFolder } from './project.ts'

const ours = 'film-store/'
/** A server of ours: it is replaced when its own files change, not with each release of the services. */
const server = `${ours}postgres`

/** The name under which an image of ours is in a registry; others keep theirs. */
export function releasedImage(image: string, registry: string, version: string): string {
  if (!image.startsWith(ours)) return image
  return `${registry}/${image.slice(ours.length)}:${image === server ? serverVersion() : version}`
}

export function serverVersion(): string {
  const folder = join(dockerFolder, 'postgres')
  const hash = createHash('sha256')
  for (const name of readdirSync(folder).toSorted()) hash.update(name).update(readFileSync(join(folder, name)))
  return hash.digest('hex').slice(0, 12)
}
