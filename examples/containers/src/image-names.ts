import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { dockerFolder } from './project.ts'

const ours = 'film-store/'
/** A server of ours: it is replaced when its own files change, not with each release of the services. */
const server = `${ours}postgres`
/** It holds the port, so that its successor cannot start before it has left. */
const door = `${ours}gateway`

export interface Release {
  /** What stands before the names of our images, such as `ghcr.io/owner/film-store`. Default: they are on the node. */
  readonly registry?: string | undefined
  /** The tag of our images. */
  readonly version: string
  /** The tag of the gateway, where it stays what it was. Default `version`. */
  readonly gatewayVersion?: string | undefined
}

/** The name under which an image of ours is in a registry; others keep theirs. */
export function releasedImage(image: string, { registry = 'film-store', version, gatewayVersion = version }: Release): string {
  if (!image.startsWith(ours)) return image
  const tag = image === server ? serverVersion() : image === door ? gatewayVersion : version
  return `${registry}/${image.slice(ours.length)}:${tag}`
}

export function serverVersion(): string {
  const folder = join(dockerFolder, 'postgres')
  const hash = createHash('sha256')
  for (const name of readdirSync(folder).toSorted()) hash.update(name).update(readFileSync(join(folder, name)))
  return hash.digest('hex').slice(0, 12)
}

const tag = /^\w[\w.-]{0,127}$/
const prefix = /^[a-z\d][a-z\d.-]*(:\d+)?(\/[a-z\d]+([._-]+[a-z\d]+)*)*$/

/** Throws about names that no image can have, before anything is built or deployed under them. */
export function checkRelease({ registry, version, gatewayVersion = version }: Release): void {
  for (const [name, text] of [
    ['--version', version],
    ['--gateway', gatewayVersion],
  ] as const)
    if (!tag.test(text)) throw new Error(`${name} '${text}' is no tag: letters, digits, dots, - and _, such as 1.4.0`)
  if (registry !== undefined && !prefix.test(registry))
    throw new Error(
      `--registry '${registry}' is no prefix of an image's name: in lower case, without a scheme or a slash at its end, such as ghcr.io/owner/film-store`,
    )
}
