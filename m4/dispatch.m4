# SPDX-License-Identifier: MIT
# What configure.ac asks for more than once.

# DISPATCH_KEEP_CORE: autoconf's clean-up runs `rm -f core ...` after each check and trips over our
# folder of that name. A shell function drops the bare word `core`.
AC_DEFUN([DISPATCH_KEEP_CORE], [m4_divert_text([INIT_PREPARE], [dnl
rm ()
{
  for dispatch_arg
  do
    shift
    test "x$dispatch_arg" = xcore || set -- "$[@]" "$dispatch_arg"
  done
  command rm "$[@]"
}
])])

# DISPATCH_MISSING(WHAT, DEBIAN-PACKAGE): remembers it for DISPATCH_COMPLETE.
AC_DEFUN([DISPATCH_MISSING], [dnl
dispatch_missing="$dispatch_missing
  $1: Debian package $2"
dispatch_packages="$dispatch_packages $2"])

# DISPATCH_COMPLETE: ends configure if anything was missing, naming all of it at once.
AC_DEFUN([DISPATCH_COMPLETE], [dnl
AS_IF([test -n "$dispatch_missing"],
  [AC_MSG_ERROR([missing:$dispatch_missing
On Debian and Ubuntu: apt-get install$dispatch_packages])])])

# DISPATCH_LIBRARY(VARIABLE, PKG-CONFIG-NAME, DEBIAN-PACKAGE): VARIABLE_CFLAGS and VARIABLE_LIBS.
AC_DEFUN([DISPATCH_LIBRARY], [dnl
PKG_CHECK_MODULES([$1], [$2], [], [DISPATCH_MISSING([$2], [$3])])])

# DISPATCH_HEADER(HEADER, DEBIAN-PACKAGE)
AC_DEFUN([DISPATCH_HEADER], [dnl
AC_CHECK_HEADER([$1], [], [DISPATCH_MISSING([<$1>], [$2])])])

# DISPATCH_FLAGS(VARIABLE, FLAGS, CFLAGS | LDFLAGS): appends to VARIABLE each flag that compiler and
# linker take without a warning.
AC_DEFUN([DISPATCH_FLAGS], [dnl
for dispatch_flag in $2; do
  AC_MSG_CHECKING([whether $CC takes $dispatch_flag])
  dispatch_saved=$$3
  $3="$$3 $$1 -Werror $dispatch_flag"
  AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <string.h>]], [[]])],
    [AC_MSG_RESULT([yes])
     $1="$$1 $dispatch_flag"],
    [AC_MSG_RESULT([no])])
  $3=$dispatch_saved
done])
