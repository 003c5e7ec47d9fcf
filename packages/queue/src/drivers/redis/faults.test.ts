import { expect, it } from 'vitest'
import { faultOf, isShutOut, isTooOld, plain } from './faults.ts'

const reply = (message: string): Error => Object.assign(new Error(message), { name: 'ReplyError', command: { args: ['secret'] } })

it.each([
  ["OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'", 'passing'],
  ['MISCONF Errors writing to the AOF file: No space left on device', 'passing'],
  ["READONLY You can't write against a read only replica. script: 1, on @user_script:1.", 'passing'],
  ['LOADING Redis is loading the dataset in memory', 'passing'],
  ['WRONGTYPE Operation against a key holding the wrong kind of value', 'refused'],
  ["NOPERM this user has no permissions to run the 'evalsha' command", 'refused'],
])('takes the answer "%s" for %s', (message, fault) => {
  expect(faultOf(reply(message))).toBe(fault)
})

it('knows whether a command was sent before its connection was lost', () => {
  expect(faultOf(new Error("Stream isn't writeable and enableOfflineQueue options is false"))).toBe('unsent')
  expect(faultOf(new Error('Connection is closed.'))).toBe('lost')
  expect(
    faultOf(new Error('Reached the max retries per request limit (which is 0). Refer to "maxRetriesPerRequest" option for details.')),
  ).toBe('lost')
})

it('recognises a wrong password and an old server', () => {
  expect(isShutOut(reply('WRONGPASS invalid username-password pair or user is disabled.'))).toBe(true)
  expect(isShutOut(reply('OOM command not allowed'))).toBe(false)
  expect(isTooOld(reply("ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'"))).toBe(true)
})

it('keeps no message in an error', () => {
  const bare = plain(reply('WRONGTYPE x'))
  expect(Object.keys(bare as object)).not.toContain('command')
  expect(bare).toMatchObject({ name: 'ReplyError', message: 'WRONGTYPE x' })
})
