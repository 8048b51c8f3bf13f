// Package diskfault holds the experiments on failing disks: the power goes
// out, writes and syncs are refused, the disk is full. It is nothing but
// tests, in a package of their own because they exchange the file system of
// the whole process (internal/faultvfs); none of them runs beside another.
package diskfault
