import { z } from 'zod'

const texts = z.array(z.string()).min(1)
const updateTypes = z.enum(['major', 'minor', 'patch', 'pin', 'digest', 'lockFileMaintenance'])

const rule = z.strictObject({
  description: z.string(),
  matchDepTypes: texts.optional(),
  rangeStrategy: z.enum(['auto', 'pin', 'bump', 'replace', 'widen', 'update-lockfile', 'in-range-only']).optional(),
  matchPackageNames: texts.optional(),
  matchDatasources: texts.optional(),
  matchManagers: texts.optional(),
  matchUpdateTypes: z.array(updateTypes).min(1).optional(),
  groupName: z.string().optional(),
  dependencyDashboardApproval: z.boolean().optional(),
})

const customManager = z.strictObject({
  customType: z.literal('regex'),
  description: z.string(),
  managerFilePatterns: z.array(z.string().regex(/^\/.*\/$/, 'must be a regular expression between slashes')).min(1),
  matchStrings: z.array(z.string().refine(isRegularExpression, 'must be a regular expression')).min(1),
  datasourceTemplate: z.string(),
})

const settings = z.strictObject({
  $schema: z.literal('https://docs.renovatebot.com/renovate-schema.json'),
  extends: texts,
  schedule: texts,
  timezone: z.string(),
  labels: texts,
  minimumReleaseAge: z.string().regex(/^\d+ days?$/),
  prConcurrentLimit: z.int().min(0),
  packageRules: z.array(rule),
  customManagers: z.array(customManager),
  vulnerabilityAlerts: z.strictObject({ labels: texts, schedule: texts }),
})

/**
 * The settings of Renovate that this repository uses, and no others: a misspelt one would be ignored. Renovate's own validator, far larger
 * than everything else here, runs in security.yml.
 */
export function checkRenovate(given: unknown): string | undefined {
  const { error } = settings.safeParse(given)
  return error && z.prettifyError(error)
}

function isRegularExpression(text: string): boolean {
  try {
    return Boolean(new RegExp(text))
  } catch {
    return false
  }
}
