/** What a destination and a group are called at the broker. A name of a group has no slash in it, so none can be taken for another's. */
export const exchangeName = (destination: string): string => `platform/${destination}`
/** The queue of a group, and the exchange that says what kind of group it is. */
export const groupName = (destination: string, group: string): string => `platform/${destination}/${group}`
export const deadQueue = (destination: string, group: string): string => `${groupName(destination, group)}/dead`
export const trialQueue = (queue: string): string => `${queue}/trial`
export const parkedQueue = (queue: string): string => `${queue}/parked`
export const keyLog = (queue: string): string => `${queue}/keys`
/** The exchange that shares keys out over the shards of a group. */
export const layoutName = (destination: string, group: string, shards: number): string => `${groupName(destination, group)}/${shards}`
/** Takes for the first shard what bears no slot: it was not published by this library. */
export const strayName = (destination: string, group: string, shards: number): string => `${layoutName(destination, group, shards)}/strays`
/** Every member of a sharded group has a consumer there: how many they are is how they share. */
export const membersQueue = (destination: string, group: string): string => `${groupName(destination, group)}/members`
/** And every one that has less than its share has one there. */
export const askingQueue = (destination: string, group: string): string => `${groupName(destination, group)}/asking`
/** Where a note waits that asks, when its time is over, whether a group still has members. */
export const expiryQueue = (destination: string, group: string): string => `${groupName(destination, group)}/expiry`
/** There while somebody removes the group. */
export const removalLock = (destination: string, group: string): string => `${groupName(destination, group)}/removing`
/** Where such notes arrive. */
export const expiryLooks = 'platform/expiry'
/** Exists once a group has subscribed; never consumed. */
export const markerQueue = (destination: string): string => `platform/${destination}/`
/** Where what has waited comes back: routing keys are names of queues, or of the exchanges of destinations. */
export const returnExchange = 'platform/return'
/** Takes what waited for a group that is gone meanwhile, so that it does not block the others that wait. */
export const lostName = 'platform/lost'
