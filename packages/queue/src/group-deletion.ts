import { QueueError } from './errors.ts'

/** A group is deleted only when nobody works in it, and when nothing is lost by it or that is wanted. */
export function refuseDeletion(
  destination: string,
  group: string,
  { members, messages, discard }: { members: number; messages: number; discard: boolean },
): void {
  const conflict = (detail: string): QueueError => new QueueError('ERR_QUEUE_CONFLICT', { destination, detail: `group ${group} ${detail}` })
  if (members > 0) throw conflict(`has ${members} members: close them first`)
  if (messages > 0 && !discard) throw conflict(`holds ${messages} messages: handle them, or set discard`)
}
