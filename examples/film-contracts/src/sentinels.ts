import { z } from 'zod'

/** What the sentinels call the group that they look after. */
const group = 'film-store'

/** Beside the URL of a Redis. */
export const sentinelsSetting = z
  .string()
  .optional()
  .describe('Those who know which Redis leads, as host:port,host:port; the URL then gives the password alone')

/** For ioredis: whichever Redis leads, by the word of the sentinels. Their password is that of the servers. */
export function sentinelOptions(redisUrl: string, sentinels: string) {
  const { password } = new URL(redisUrl)
  return {
    name: group,
    sentinels: sentinels.split(',').map((each) => {
      const [host = '', port] = each.split(':')
      return { host, port: Number(port ?? 26_379) }
    }),
    password,
    sentinelPassword: password,
  }
}
